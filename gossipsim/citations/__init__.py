"""What to cite for a run: class paths -> BibTeX entries, from files alone.

``entries.bib`` holds the entries; ``sources.json`` says which of them a class stands for, always or for some of its
params; ``ignores_graph.json`` lists the strategies that use neither topology nor weights, again for some params.
"""

from gossipsim.citations.citing import Citation, cite, entries, sources_of
from gossipsim.citations.specs import specs_of

__all__ = ["Citation", "cite", "entries", "sources_of", "specs_of"]
