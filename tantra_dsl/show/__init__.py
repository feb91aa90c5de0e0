"""Models as tables and as JSON."""

from tantra_dsl.show.document import show_dict, show_json
from tantra_dsl.show.table import pattern_text, show_table
from tantra_dsl.show.training import recipe_cost

__all__ = ["pattern_text", "recipe_cost", "show_dict", "show_json", "show_table"]
