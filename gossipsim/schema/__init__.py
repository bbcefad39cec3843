"""JSON Schemas (draft 2020-12) of the configuration files, for completion and checks in editors.

The keys come from the pydantic models of :mod:`gossipsim.config`, the class paths and their params from what ships and
its signatures. A class path of your own, and params of classes that are not ours, are never errors.
"""

from gossipsim.schema.documents import DOCUMENTS, schema_of

__all__ = ["DOCUMENTS", "schema_of"]
