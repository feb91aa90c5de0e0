def format_expression(e): return repr(e)
