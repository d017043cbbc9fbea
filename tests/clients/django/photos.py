"""Django's models by modelsearch, which is what Wagtail searches with.

``index`` fills an index of its own, straight in the engine; without it the same models are searched
through the gateway. A page of results comes from the database: what the engine finds decides which.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import django
from django.conf import settings

OPENSEARCH = os.environ.get("SAFERANK_ENGINE") == "opensearch"
WRITING = sys.argv[1:] == ["index"]
KEYS: dict[str, str] = {"": ""} if WRITING else json.loads(os.environ["KEYS"])

# The Elasticsearch of the tests has no module of analysis: words are whole there.
WHOLE_WORDS = {
    "settings": {
        "analysis": {
            kind: {name: {"type": simple} for name in names}
            for kind, simple, names in (
                ("tokenizer", "standard", ("ngram_tokenizer", "edgengram_tokenizer")),
                ("filter", "stop", ("ngram", "edgengram")),
                ("analyzer", "standard", ("ngram_analyzer", "edgengram_analyzer")),
            )
        }
    }
}


def backend(key: str) -> dict[str, Any]:
    """How the index is reached: by the gateway with a key, or by the engine itself."""
    headers = {"Authorization": f"ApiKey {key}"}
    return {
        "BACKEND": f"modelsearch.backends.{'opensearch3' if OPENSEARCH else 'elasticsearch9'}",
        "URLS": [os.environ["ENGINE" if WRITING else "GATEWAY"]],
        "INDEX_PREFIX": f"{os.environ['INDEX']}-",
        "AUTO_UPDATE": False,
        "INDEX_SETTINGS": {} if OPENSEARCH else WHOLE_WORDS,
        "OPTIONS": {"headers": headers} if key else {},
    }


levels = {level or "default": backend(key) for level, key in KEYS.items()}
settings.configure(
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    INSTALLED_APPS=["django.contrib.contenttypes", "modelsearch"],
    MODELSEARCH_BACKENDS={"default": next(iter(levels.values())), **levels},
    USE_TZ=True,
)
django.setup()

from django.db import connection, models  # noqa: E402
from modelsearch import index  # noqa: E402
from modelsearch.backends import get_search_backend  # noqa: E402
from modelsearch.queryset import SearchableQuerySetMixin  # noqa: E402


class Photos(SearchableQuerySetMixin, models.QuerySet):  # type: ignore[type-arg]
    pass


class Photo(index.Indexed, models.Model):
    name = models.CharField(primary_key=True, max_length=20)
    title = models.CharField(max_length=200)
    word = models.CharField(max_length=200)
    objects = Photos.as_manager()
    search_fields = [
        index.SearchField("title", boost=2),
        index.AutocompleteField("title"),
        index.FilterField("word"),
        index.FilterField("name"),
    ]

    class Meta:
        app_label = "contenttypes"  # One that is installed; there is no other here.


def fill_index() -> None:
    """What the command ``rebuild_modelsearch_index`` does; prints the name of the index."""
    writer = get_search_backend("default").get_index_for_model(Photo)
    rebuilder = get_search_backend("default").rebuilder_class(writer)
    made = rebuilder.start()
    made.add_model(Photo)
    made.add_items(Photo, Photo.objects.all())
    rebuilder.finish()
    print(writer.name)


def names(found: Any) -> list[str]:
    return [photo.name for photo in found]


def look(level: str) -> None:
    """What an application sees at a level."""
    photos = Photo.objects.search("cat", backend=level)
    ordered = Photo.objects.order_by("-word").search("cat", order_by_relevance=False, backend=level)
    kept = Photo.objects.filter(word__startswith="mark").search("cat", backend=level)
    begun = Photo.objects.autocomplete("ca" if OPENSEARCH else "cat", backend=level)
    whole = [sorted(names(one)) for one in (photos, ordered, kept, begun)]  # By a scroll.
    assert whole == [whole[0]] * 4, whole
    engine = get_search_backend(level).es
    try:
        engine.indices.create(index="test-gateway-clients-made")
        refused = 200
    except Exception as error:
        refused = error.status_code  # type: ignore[attr-defined]
    counted = photos.facet("word")
    assert sum(counted.values()) == len(whole[0])
    seen = {
        "search": whole[0],
        "pages": sorted(name for start in (0, 2, 4) for name in names(photos[start : start + 2])),
        "count": photos.count(),
        "refused": refused,
        "text": [str(counted), *(photo.title for photo in photos.annotate_score("score"))],
    }
    print(json.dumps({"client": "modelsearch (Django, Wagtail)", "level": level, **seen}))


with connection.schema_editor() as editor:
    editor.create_model(Photo)
for name, title in json.loads(os.environ["TITLES"]).items():
    Photo.objects.create(name=name, title=title, word=title.split()[-1])
if WRITING:
    fill_index()
else:
    for each in levels:
        look(each)
