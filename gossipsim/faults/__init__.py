"""What goes wrong on purpose: a list of faults, each at a step, on a process, once.

They are asked for by the key `faults` of an experiment or by GOSSIPSIM_FAULTS, and happen in every run of it. They do
not belong to what decides a result: a run that goes on after a fault ends with the bytes of one that met none.
"""

from gossipsim.faults.fault import VARIABLE, Fault, from_text
from gossipsim.faults.struck import LEDGER, struck

__all__ = ["LEDGER", "VARIABLE", "Fault", "from_text", "struck"]
