"""The graph attack in other circumstances: over time, with all sources at once, against decoys, with another list."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl

from linkage.lab.attacks.graph import Channel, channels, runs, similarity
from linkage.lab.attacks.scene import Outcome, Scene, encoded, views
from linkage.lab.labelled import TestKey
from linkage.steward.decoys import draw_decoys, number_of_decoys

__all__ = ["among_decoys", "bridged_epochs", "noisy_list", "twelve_months", "union"]

_MONTHS = 12
_OTHER_MONTH = 20.0
_EPOCHS = 4
_DECOYS = 0.25


def twelve_months(scene: Scene) -> Outcome:
    """Match people whose encodings came month by month under one key.

    The same person has the same bits each month, so the hub sees in which month each first came; the attacker knows
    from his list in which month each person first did. People come at random over twelve months.
    """
    first = np.random.default_rng([scene.seed, 31]).integers(0, _MONTHS, len(scene.owner))
    own = np.where(scene.common, first[scene.truth], -1)
    strangers = np.random.default_rng([scene.seed, 37]).integers(0, _MONTHS, len(own))
    own = np.where(scene.common, own, strangers)
    beyond = np.where(own[:, None] == first[None, :], 0, -_OTHER_MONTH).astype(np.float32)
    tried = [scene.score(assigned) for assigned in runs(scene, beyond)]
    return max(tried, key=lambda outcome: outcome.hits)


def bridged_epochs(scene: Scene) -> Outcome:
    """Match people whose encodings of four epochs the hub holds together, as after three rotations with a bridge.

    Each epoch has noise of its own; their mean has half as much.
    """
    seen = [scene.seen]
    for epoch in range(1, _EPOCHS):
        key = TestKey(scene.key.seed + epoch)
        seen.append(views(encoded(scene.owner, scene.spec, key), scene.spec))
    averaged = []
    for number, channel in enumerate(channels(scene)):
        mean = sum(similarity(epoch[number]) - similarity(scene.seen[number]) for epoch in seen) / np.float32(_EPOCHS)
        empty = scene.seen[number].empty
        other = np.where(empty[:, None] | empty[None, :], 0, channel.seen + mean).astype(np.float32)
        averaged.append(Channel(channel.own, other, channel.precision * _EPOCHS))
    tried = [scene.score(assigned) for assigned in runs(scene, averaged=averaged)]
    return max(tried, key=lambda outcome: outcome.hits)


def union(scene: Scene) -> Outcome:
    """Match against the encodings of all sources at once; either of a person's records is his.

    Of the other sources as many records as the owner has are taken, those of his people first.
    """
    fields = list(scene.spec.fields)
    extra = scene.elsewhere.sort(pl.col("owner") < 0, maintain_order=True).head(len(scene.owner))
    both = pl.concat([scene.owner.select(fields), extra.select(fields)])
    person = np.concatenate([np.arange(len(scene.owner)), extra["owner"].to_numpy()])
    order = np.random.default_rng([scene.seed, 41]).permutation(len(both))
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    truth = np.where(scene.common, place[scene.truth], -1)
    larger = replace(scene, owner=both[order], truth=truth, _kept={})
    person = person[order]
    tries = int(scene.common.sum())
    tried = []
    for assigned in runs(larger):
        given = np.where(assigned >= 0, person[assigned], -1)[scene.common]
        tried.append(float((given == scene.truth[scene.common]).sum()))
    return Outcome(max(tried), tries, 1 / len(scene.owner))


def among_decoys(scene: Scene) -> Outcome:
    """Match where a quarter more records were sent, drawn from the owner's own as ``[steward] decoys = 0.25`` does."""
    persons = scene.owner.select(
        pl.int_range(pl.len()).cast(pl.String).alias("local_id"),
        pl.lit(0, pl.UInt8).alias("variant"),
        *(_as_list(name, scene.owner.schema[name]) for name in scene.spec.fields),
    )
    key = scene.key.derive(spec_digest=scene.spec.digest, purpose="decoys")
    drawn = draw_decoys(persons, number_of_decoys(_DECOYS, len(persons)), key)
    made_up = drawn.select(
        pl.col(name) if kind == pl.List else pl.col(name).list.first() for name, kind in scene.owner.schema.items()
    )
    both = pl.concat([scene.owner, made_up])
    order = np.random.default_rng([scene.seed, 53]).permutation(len(both))
    place = np.argsort(order)
    larger = replace(scene, owner=both[order], truth=np.where(scene.common, place[scene.truth], -1), _kept={})
    tried = [larger.score(assigned) for assigned in runs(larger)]
    return max(tried, key=lambda outcome: outcome.hits)


def _as_list(name: str, kind: pl.DataType) -> pl.Expr:
    values = pl.col(name) if kind == pl.List else pl.concat_list(name)
    return values.fill_null([]).list.drop_nulls()


def noisy_list(scene: Scene) -> Outcome:
    """Match with a list from another source: the same people as others wrote them down.

    The list has those of the owner's people whom another source has, and strangers to the length of the owner's list.
    """
    fields = list(scene.spec.fields)
    once = scene.elsewhere.filter(pl.col("owner") >= 0).unique("owner", keep="first", maintain_order=True)
    strangers = scene.elsewhere.filter(pl.col("owner") < 0).head(max(len(scene.owner) - len(once), 0))
    theirs = pl.concat([once, strangers])
    theirs = theirs[np.random.default_rng([scene.seed, 43]).permutation(len(theirs))]
    other = replace(scene, attacker=theirs.select(fields), truth=theirs["owner"].to_numpy().astype(np.int64), _kept={})
    tried = [other.score(assigned) for assigned in runs(other)]
    return max(tried, key=lambda outcome: outcome.hits)
