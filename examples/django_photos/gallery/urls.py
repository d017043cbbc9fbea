"""Addresses of the pages."""

from __future__ import annotations

from django.conf import settings
from django.conf.urls.static import static
from django.http import HttpRequest, HttpResponse
from django.urls import path

from gallery import views
from saferank.web import BLUR_CSS


def blur_css(_request: HttpRequest) -> HttpResponse:
    return HttpResponse(BLUR_CSS, content_type="text/css")


urlpatterns = [
    path("", views.search, name="search"),
    path("photos/<str:photo>", views.detail, name="detail"),
    path("suggestions", views.suggestions, name="suggestions"),
    path("level", views.choose_level, name="level"),
    path("upload", views.upload, name="upload"),
    path("blur.css", blur_css, name="blur_css"),
    *static(settings.MEDIA_URL, document_root=settings.MEDIA_ROOT),
]
