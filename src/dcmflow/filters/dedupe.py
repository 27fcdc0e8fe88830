"""Instances that came before go no further."""
