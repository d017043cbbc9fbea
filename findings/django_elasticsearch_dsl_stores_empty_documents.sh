#!/usr/bin/env bash
# django-elasticsearch-dsl 9.0 indexes every model as an empty document when elasticsearch-py 9.4 or
# newer is installed, which its requirements allow.
#
# Version:  django-elasticsearch-dsl 9.0 with elasticsearch 9.4.1 and with 9.3.0; Elasticsearch 9.5.0.
# Expected: {"title": "x"} in the index after Image.objects.create(title="x"), with both.
# Seen:     {} with 9.4.1, without an error; {"title": "x"} with 9.3.0.
#
# It matters to whoever scores documents that Django indexed: none of them has an image.
VERSION=9.5.0
source "$(dirname "$0")/lib/elasticsearch_node.sh"

cat > "$folder/app.py" <<'PYTHON'
import sys

import django
from django.conf import settings

settings.configure(
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    INSTALLED_APPS=["django_elasticsearch_dsl"],
    ELASTICSEARCH_DSL={"default": {"hosts": sys.argv[1]}},
    DEFAULT_AUTO_FIELD="django.db.models.AutoField",
)
django.setup()
from django.db import connection, models
from django_elasticsearch_dsl import Document, Index
from django_elasticsearch_dsl.registries import registry


class Image(models.Model):
    title = models.TextField()

    class Meta:
        app_label = "django_elasticsearch_dsl"


@registry.register_document
class ImageDocument(Document):
    class Index:
        name = sys.argv[2]

    class Django:
        model = Image
        fields = ["title"]


with connection.schema_editor() as editor:
    editor.create_model(Image)
Image.objects.create(title="x")
found = ImageDocument._index.connection.get(index=sys.argv[2], id="1")
print(found["_source"])
PYTHON

seen=
for client in 9.4.1 9.3.0; do
  python3 -m venv "$folder/$client"
  "$folder/$client/bin/python" -m pip install -q --disable-pip-version-check \
    "django-elasticsearch-dsl==9.0" "elasticsearch==$client" "django>=5.2,<6"
  stored=$("$folder/$client/bin/python" "$folder/app.py" "$url" "images-$client")
  echo "elasticsearch $client stores $stored"
  seen+="$stored "
done
as_described test "$seen" = "{} {'title': 'x'} "
