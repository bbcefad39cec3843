"""The commands of `gossipsim`, one per module. Heavy modules are imported inside them: `--help` needs no torch."""
