"""Who meets damage: the paths of snapshots that lead to given objects.

Each page is read once, however many snapshots share it: what is known of it is whether anything in it, or below it,
leads there.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import NamedTuple

from jvs.castore.backend import Kind, Ref
from jvs.castore.digest import Digest
from jvs.castore.manifest import DIRECTORY, File, Page, small_files
from jvs.castore.objects import ObjectStore
from jvs.errors import IntegrityError


class _Link(NamedTuple):
    """From a page to an object that was asked for, or to a page that leads to one. name: None for the page's own."""

    name: bytes | None
    ref: Ref
    wanted: bool


class Affected:
    """Finds the paths that lead to `refs`. Memory: the digests of all pages asked about."""

    def __init__(self, objects: ObjectStore, refs: Collection[Ref]) -> None:
        self._objects = objects
        self._wanted = frozenset(refs)
        self._in_files = any(ref.kind in (Kind.CHUNK, Kind.RECIPE) for ref in refs)
        self._links: dict[Digest, tuple[_Link, ...]] = {}
        self._recipes: dict[Digest, tuple[Ref, ...]] = {}

    def paths(self, root: Digest) -> Iterator[tuple[Ref, tuple[bytes, ...]]]:
        """(object, path that leads to it) in the snapshot `root`; through each page only once."""
        self._explore(root)
        seen = {root}
        stack: list[tuple[tuple[bytes, ...], Digest]] = [((), root)]
        while stack:
            path, page = stack.pop()
            for name, ref, wanted in self._links[page]:
                below = path if name is None else (*path, name)
                if wanted:
                    yield ref, below
                elif ref.key not in seen:
                    seen.add(ref.key)
                    stack.append((below, ref.key))

    def _explore(self, root: Digest) -> None:
        """Find the links of a page and of all below it, children first."""
        stack: list[tuple[Digest, list[_Link], list[_Link]] | Digest] = [root]
        while stack:
            item = stack.pop()
            if isinstance(item, tuple):
                digest, own, below = item
                self._links[digest] = (*own, *(link for link in below if self._links.get(link.ref.key)))
            elif item not in self._links:
                self._links[item] = ()
                own = [_Link(None, Ref(Kind.PAGE, item), True)] if Ref(Kind.PAGE, item) in self._wanted else []
                try:
                    page = self._objects.page(item)
                except IntegrityError:
                    self._links[item] = tuple(own)  # a damaged page is one that was asked for, or will be
                    continue
                own += self._files(item, page)
                below = [_Link(None, Ref(Kind.PAGE, row.digest), False) for row in page.children]
                below += [_Link(e.name, Ref(Kind.PAGE, e.digest), False) for e in page.entries if e[1] == DIRECTORY]
                stack.append((item, own, below))
                stack.extend(link.ref.key for link in below)

    def _files(self, digest: Digest, page: Page) -> list[_Link]:
        files = small_files(page.entries)
        layout = Ref(Kind.LAYOUT, digest)
        if files and layout in self._wanted:
            return [_Link(None, layout, True)]
        return [_Link(file.name, ref, True) for file in files for ref in self._refs(digest, file)]

    def _refs(self, page: Digest, file: File) -> tuple[Ref, ...]:
        """Those of the wanted objects that a file's bytes lie in."""
        try:
            place = self._objects.place(page, file)
        except IntegrityError:
            return ()
        ref = Ref(place.kind, place.key)
        if ref in self._wanted:
            return (ref,)
        return self._below_recipe(place.key) if place.kind == Kind.RECIPE and self._in_files else ()

    def _below_recipe(self, digest: Digest) -> tuple[Ref, ...]:
        known = self._recipes.get(digest)
        if known is None:
            found: dict[Ref, None] = {}
            stack = [digest]
            while stack:
                try:
                    children = self._objects.recipe_children(stack.pop())
                except IntegrityError:
                    continue
                found.update(dict.fromkeys(ref for ref in children if ref in self._wanted))
                stack.extend(ref.key for ref in children if ref.kind == Kind.RECIPE)
            known = self._recipes[digest] = tuple(found)
        return known
