"""A SOP Instance as a value: encoded bytes, the elements in them, and files of them."""
