"""``{% picture photo %}``: a photo, blurred where the level says so."""

from __future__ import annotations

from typing import Any

from django import template

register = template.Library()


@register.inclusion_tag("gallery/picture.html")
def picture(photo: dict[str, Any]) -> dict[str, Any]:
    return {"photo": photo}
