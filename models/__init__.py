"""Image classifiers: description and files in, probability out."""

from saferank.models.model import Model, load_model

__all__ = ["Model", "load_model"]
