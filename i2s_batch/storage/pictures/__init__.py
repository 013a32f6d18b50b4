"""The bytes of a picture file as pixels, and films from pixels."""
