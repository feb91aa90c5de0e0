"""How each primitive turns its settings into nodes."""
