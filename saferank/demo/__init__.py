"""The demonstration: real photographs, real parts, three levels."""
