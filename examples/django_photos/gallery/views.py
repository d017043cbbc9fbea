"""The pages."""

from __future__ import annotations

from typing import Any

from django import forms
from django.http import HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST
from elasticsearch.dsl import Q

from gallery.documents import PhotoDocument
from gallery.middleware import SafeRequest
from gallery.models import Photo
from saferank import protect
from saferank.web import is_waiting, read_cursor, write_cursor


# [search]
def search(request: SafeRequest) -> HttpResponse:
    words, tag = request.GET.get("words", ""), request.GET.get("tag", "")
    decision = request.safe.decision()
    search: Any = PhotoDocument.search().query(Q("match", title=words) if words else Q("match_all"))
    if tag:
        search = search.filter("term", tag=tag)
    search.aggs.bucket("tags", "terms", field="tag")
    search = search.sort({"_score": "desc"}, "id")
    if behind := read_cursor(request.GET.get("after"), decision):
        search = search.extra(search_after=behind)
    found = protect(search[:12], request.safe).execute()
    page = {
        "words": words,
        "tag": tag,
        "tags": found.aggregations.tags.buckets,
        "total": found.hits.total.value,
        "photos": [card(hit) for hit in found],
        "after": write_cursor(found[-1].meta, decision) if len(found) == 12 else None,
    }
    return render(request, "gallery/photos.html", page)


def card(hit: Any) -> dict[str, Any]:
    """What a template needs of a hit; the record, with the paths of files, is not among it."""
    return {
        "id": hit.meta.id,
        "title": hit.title,
        "tag": hit.tag,
        "address": hit.file,
        "blur": hit.meta.saferank.blur,
        "waiting": is_waiting(hit.meta),
    }


# [end]


# [detail]
def detail(request: SafeRequest, photo: str) -> HttpResponse:
    """One photo; a hidden one raises what a missing one raises, and the middleware says 404."""
    safe: Any = request.safe
    found = PhotoDocument.get(photo, using=safe)
    like = Q(
        "more_like_this", fields=["title"], like=[{"_id": photo}], min_term_freq=1, min_doc_freq=1
    )
    related = protect(PhotoDocument.search().query(like)[:4], request.safe)
    page = {"photo": card(found), "related": [card(hit) for hit in related]}
    return render(request, "gallery/photo.html", page)


def suggestions(request: SafeRequest) -> HttpResponse:
    """Titles that go on as what was typed so far."""
    typed = Q("match_bool_prefix", title={"query": request.GET.get("words", ""), "operator": "and"})
    found = protect(PhotoDocument.search().query(typed)[:8], request.safe)
    return JsonResponse(list(dict.fromkeys(hit.title for hit in found)), safe=False)


# [end]


# [level]
@require_POST
def choose_level(request: SafeRequest) -> HttpResponse:
    answer = redirect("search")
    level = request.POST.get("level", "")
    answer.set_cookie("safesearch", level, max_age=365 * 86_400, samesite="Lax", httponly=True)
    return answer


# [end]


# [upload]
class PhotoForm(forms.ModelForm):
    class Meta:
        model = Photo
        fields = ("title", "tag", "picture")


def upload(request: SafeRequest) -> HttpResponse:
    """Keep a photo; until it is scored the level's ``unscored`` holds for it."""
    form = PhotoForm(request.POST or None, request.FILES or None)
    saved = request.method == "POST" and form.is_valid()
    if saved:
        form.save()
    return render(request, "gallery/upload.html", {"form": form, "saved": saved})


# [end]
