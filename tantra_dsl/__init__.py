"""tantra: a language for transformer architectures."""
