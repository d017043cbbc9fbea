"""Choosing a Java, among programs that answer as a Java does."""

from __future__ import annotations

from pathlib import Path

import pytest

from saferank.errors import ServiceUnavailable
from saferank.local import java


def _install(folder: Path, version: int) -> Path:
    program = folder / "bin" / "java"
    program.parent.mkdir(parents=True)
    program.write_text(
        "#!/bin/sh\n"
        f"echo '    java.home = {folder}' >&2\n"
        f"echo '    java.specification.version = {version}' >&2\n"
    )
    program.chmod(0o755)
    return folder


@pytest.fixture(autouse=True)
def _no_java(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("ES_JAVA_HOME", raising=False)
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    monkeypatch.setattr(java.shutil, "which", lambda _: None)
    monkeypatch.setattr(java, "_INSTALLED_IN", ((str(tmp_path / "jvm"), "*"),))


def test_an_old_java_home_is_passed_over(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("JAVA_HOME", str(_install(tmp_path / "jvm" / "java-17", 17)))
    newer = _install(tmp_path / "jvm" / "java-21", 21)
    assert java.find_java_home() == newer


def test_es_java_home_comes_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("JAVA_HOME", str(_install(tmp_path / "a", 21)))
    monkeypatch.setenv("ES_JAVA_HOME", str(_install(tmp_path / "b", 25)))
    assert java.find_java_home() == tmp_path / "b"


def test_the_error_says_what_was_found_and_what_is_needed(tmp_path: Path) -> None:
    _install(tmp_path / "jvm" / "java-17", 17)
    with pytest.raises(ServiceUnavailable, match=r"needs Java 21 .*java-17/bin/java is Java 17.*"):
        java.find_java_home()


def test_the_error_without_any_java() -> None:
    with pytest.raises(ServiceUnavailable, match=r"no Java was found.*install one.*ES_JAVA_HOME"):
        java.find_java_home()
