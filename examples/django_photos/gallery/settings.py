"""Settings of the example, which is for one's own machine."""

from __future__ import annotations

import os
from pathlib import Path

FOLDER = Path(os.environ.get("PHOTOS", "photos")).resolve()
FOLDER.mkdir(exist_ok=True)

DEBUG = True
SECRET_KEY = "an example, for one's own machine"
ALLOWED_HOSTS = ["127.0.0.1", "localhost", "testserver"]
INSTALLED_APPS = [
    "django.contrib.sessions",
    "django_elasticsearch_dsl",
    "gallery",  # After it: it replaces the client that django_elasticsearch_dsl makes.
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "gallery.middleware.SafeSearchMiddleware",  # After the session, which knows who is a child.
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {"context_processors": ["gallery.middleware.levels"]},
    }
]
ROOT_URLCONF = "gallery.urls"
DATABASES = {
    "default": {"ENGINE": "django.db.backends.sqlite3", "NAME": FOLDER / "gallery.sqlite3"}
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
MEDIA_ROOT = FOLDER
MEDIA_URL = "/media/"

ELASTICSEARCH_DSL = {"default": {"hosts": os.environ["SAFERANK_ELASTICSEARCH_URL"]}}
ELASTICSEARCH_DSL_SIGNAL_PROCESSOR = "gallery.signals.AfterCommit"
SAFERANK_POLICY = Path(__file__).parents[2] / "policy.yaml"
