"""Values that do not belong where they are put."""

from __future__ import annotations

from typing import Any


class Raw(str):
    """JSON text as it is, whether it is JSON or not."""


NUMBERS: list[Any] = [
    *(0, 1, -1, 2, 3, 7, 2**31, 2**53 + 1, 2**63 - 1, -(2**63), 10**9, 10**12),
    *(0.5, -0.5, 1.5, 1e-300, 1e308, -0.0),
]

NO_NUMBERS = [Raw(text) for text in ("NaN", "-Infinity", "1e400", "9" * 5000, "01", "0x10", ".5", "1.", "+1", "--1")]

STRINGS = [
    *(
        "",
        " ",
        ".",
        "..",
        "../../escaped",
        "/absolute",
        "con",
        "a" * 5000,
        "a/b\\c:d*e?",
        "a\0b",
        "a\nb",
        "a\r\n\x85\u2028b",
    ),
    *(
        "\x1b[31mred",
        "<script>alert(1)</script>",
        '"><img src=x onerror=alert(1)>',
        "${7*7}{{7*7}}%s%n",
        "]]>",
        "ⅷ",
        "é",
    ),
    *("\u202ex", "\U0001f600", "8", "true", "null", "NaN", "auto", "auto*2", "auto*1e400", "2/(t+2)", "1/0", "float64"),
    *("float16", "cuda", "stacked", "independent", "mixed", "lambda: 1", "__import__('os')"),
]

_CLASS_PATHS = """
    os.system subprocess.Popen builtins.eval torch.hub.load torch.os.system pickle.loads shutil.rmtree
    antigravity.fly torch.load numpy.save torch.nn.Linear torch.nn.Module torch.optim.Optimizer torch.optim.SDG
    torch.optim.LBFGS torch.optim.SparseAdam torch.optim.Adam torch.optim.lr_scheduler.StepLR
    torch.optim.lr_scheduler.ReduceLROnPlateau networkx.cycle_graph networkx.star_graph networkx.empty_graph
    networkx.karate_club_graph networkx.Graph networkx.random_regular_graph networkx.read_edgelist
    networkx.complete_bipartite_graph gossipsim.network.torus gossipsim.network.hypercube gossipsim.network.Own
    gossipsim.network.OnePeerExponential gossipsim.network.FDLA gossipsim.network.MATCHA gossipsim.network.ring
    gossipsim.network.Links gossipsim.network.PushWeights gossipsim.network.PairwiseGossip gossipsim.run
    gossipsim.optim.Muon gossipsim.optim.FrankWolfe gossipsim.optim.constraints.L1 gossipsim.models.Vector
    gossipsim.optim.constraints.NuclearBall gossipsim.models.ResNet18 gossipsim.models.MLP gossipsim.data.Shards
    gossipsim.data.FromFile gossipsim.tasks.QuadraticTask gossipsim.tasks.MNISTSupervisedTask
    gossipsim.tasks.DigitsSupervisedTask gossipsim.strategies.CHOCO gossipsim.strategies.PushSum
    gossipsim.strategies.AllReduce gossipsim.strategies.EXTRA gossipsim.strategies.ADPSGD gossipsim.compression.TopK
    gossipsim.trainers.SupervisedTrainer gossipsim gossipsim.optim math.prod fractions.Fraction builtins.dict
    collections.OrderedDict own.Raises own.Exits own.Prints own.nothing own.Recurses own.number
    own.Broken.part own..x .own own. os..path 1.2 own.__class__.__base__ __main__.x ⅷ.ⅷ no_such_module.Class
"""
CLASS_PATHS = [*_CLASS_PATHS.split(), "a b.c"]

_KEYS = """
    name workflow task_dirs tasks task models optimizers trainer network nodes topology weights links compression
    strategy partition seeds grid zip gates targets selection class params schedule every clip_grad_norm tune lr
    epochs steps batch_size dtype device log log_every eval_every init engine augment local_steps radius constraint
    seed path root train_size hidden network.nodes strategy.params.local_steps optimizer.params.lr trainer.params
    model optimizer x __class__ a.b.c grid.x metric n p d k alpha self
"""
KEYS = [*_KEYS.split(), "", "\0"]

_PATHS = """
    network.nodes network.topology network strategy strategy.params.local_steps trainer.params.steps optimizer
    optimizer.params.lr optimizer.tune optimizer.schedule model model.params.hidden task task.params
    partition.params.alpha partition grid grid.network.nodes zip seeds seeds.0 name workflow tasks tasks.0.models
    task_dirs gates targets a.b . network..nodes trainer.params.log trainer.params.device trainer.params.dtype
    network.links network.compression
"""
PATHS = [*_PATHS.split(), "", "x" * 3000]
"""For --set."""

SEEDS = ["0:3", "1,7", "3:0", "0:99999999999", "-1", "x", "", "1,1", "0:200000", "9" * 5000, "²"]

PROCESSES = ["auto", "nodes", "1", "4", "0", "-1", "1e3", "x", "99999999999999999999", "²"]

_NOISE = (b"", b"", b"\xff\xfe", b"\xef\xbb\xbf", b"\0", b'"', b"{", b"}", b"]", b",", b":", b"\\", b"//", b"/*", b"#")
NOISE = [*_NOISE, b"\r", b"\n", b"\xe2\x80\xa8", b"\\ud800", b"'", b"1e5"]
