"""What is different between two models: operations, costs and weights, and a spec that turns one into the other."""

# The modules of elaboration import each other; this is the one that may be first.
import tantra_dsl.semantics.evaluate  # noqa: F401
