"""Partitions: disjoint, complete, seeded; sizes; what happens to empty shards."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gossipsim.data import IID, Dirichlet, Shards, class_histogram, total_variation
from gossipsim.streams import generator

PARTITIONS = [
    IID(),
    Shards(),
    Shards(shards_per_node=1),
    Dirichlet(1.0, min_samples=1),
    Dirichlet(0.3, by="node"),
    Dirichlet(0.001, by="node"),
]


def stream(seed: int = 0) -> torch.Generator:
    return generator(seed, None, "partition")


@pytest.mark.parametrize("partition", PARTITIONS, ids=repr)
@settings(max_examples=20, deadline=None)
@given(samples=st.integers(40, 300), classes=st.integers(1, 7), nodes=st.integers(1, 10), seed=st.integers(0, 9))
def test_every_sample_has_one_owner_and_the_seed_decides_which(partition, samples, classes, nodes, seed):
    labels = torch.randint(0, classes, (samples,), generator=torch.Generator().manual_seed(seed))
    shards = partition(labels, nodes, stream(seed))
    assert len(shards) == nodes
    assert min(len(shard) for shard in shards) >= 1
    assert all(shard.dtype == torch.int64 and shard.equal(shard.sort().values) for shard in shards)
    assert torch.cat(shards).sort().values.equal(torch.arange(samples))
    again = partition(labels, nodes, stream(seed))
    assert all(a.equal(b) for a, b in zip(shards, again, strict=True))
    if not (isinstance(partition, Dirichlet) and partition.by == "class") and partition != Shards():
        assert max(map(len, shards)) - min(map(len, shards)) <= 1


@pytest.mark.parametrize("partition", PARTITIONS, ids=repr)
def test_one_node_owns_everything_in_order(partition):
    labels = torch.arange(30) % 3
    assert partition(labels, 1, stream())[0].equal(torch.arange(30))


@pytest.mark.parametrize("partition", [p for p in PARTITIONS if p != Shards(shards_per_node=1)], ids=repr)
def test_seeds_differ(partition):
    labels = torch.arange(400) % 5
    first, second = (partition(labels, 4, stream(seed)) for seed in (0, 1))
    assert not all(a.equal(b) for a, b in zip(first, second, strict=True))


def test_smaller_alpha_is_more_heterogeneous():
    labels = torch.arange(2000) % 10

    def heterogeneity(partition):
        shards = partition(labels, 8, stream())
        return float(total_variation(class_histogram(labels, shards, 10)).mean())

    for by in ("class", "node"):
        ordered = [heterogeneity(Dirichlet(alpha, by=by, min_samples=1)) for alpha in (100, 1, 0.05)]
        assert ordered == sorted(ordered)
        assert ordered[0] < 0.15
        assert ordered[2] > 0.5
    assert heterogeneity(IID()) < 0.1


def test_shards_hold_few_classes():
    labels = torch.arange(1000) % 10
    histogram = class_histogram(labels, Shards(2)(labels, 10, stream()), 10)
    assert int((histogram > 0).sum(dim=1).max()) <= 2
    assert histogram.sum() == 1000


def test_an_empty_shard_is_an_error_that_names_the_node_and_the_way_out():
    labels = torch.arange(100) % 10
    with pytest.raises(ValueError, match=r"node \d+ has no training samples .*alpha=0.01.* min_samples=1"):
        Dirichlet(0.01)(labels, 8, stream())
    shards = Dirichlet(0.01, min_samples=2)(labels, 4, stream())
    assert min(len(shard) for shard in shards) >= 2
    with pytest.raises(ValueError, match="node 3 has no training samples"):
        IID()(torch.zeros(3), 5, stream())


def test_min_samples_that_cannot_be_reached():
    labels = torch.arange(100) % 2
    with pytest.raises(ValueError, match="60 is more than 100 training samples"):
        Dirichlet(1.0, min_samples=60)(labels, 2, stream())
    with pytest.raises(ValueError, match="min_samples=9 was not reached by 10 nodes"):
        Dirichlet(0.001, min_samples=9)(labels, 10, stream())


@pytest.mark.parametrize("alpha", [1e-6, 1e-3, 1e3, 1e6])
def test_extreme_alpha(alpha):
    labels = torch.arange(200) % 4
    shards = Dirichlet(alpha, by="node")(labels, 7, stream())
    assert torch.cat(shards).sort().values.equal(torch.arange(200))


@pytest.mark.parametrize(
    ("build", "field"),
    [
        (lambda: Dirichlet(0.0), "alpha"),
        (lambda: Dirichlet(float("nan")), "alpha"),
        (lambda: Dirichlet(float("inf")), "alpha"),
        (lambda: Dirichlet(1.0, by="label"), "by"),
        (lambda: Dirichlet(1.0, min_samples=0), "min_samples"),
        (lambda: Shards(0), "shards_per_node"),
    ],
)
def test_parameters_out_of_range(build, field):
    with pytest.raises(ValueError, match=f"^{field} "):
        build()


def test_total_variation_by_hand():
    histogram = torch.tensor([[4, 0, 0], [0, 2, 2]])
    assert total_variation(histogram).tolist() == pytest.approx([0.5, 0.5])
