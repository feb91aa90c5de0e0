"""Models as tables and as JSON."""

from tantra_dsl.show.document import show_dict, show_json
from tantra_dsl.show.table import pattern_text, show_table

__all__ = ["pattern_text", "show_dict", "show_json", "show_table"]
