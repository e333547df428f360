"""The table of jobs that ``jobs.check`` and a real slurmctld judge, one line each.

A row changes a legal job of its site. ``refused`` is the key that ``check`` names in its error; an empty one is a job
that ``check`` takes. The controller must come to the same verdict, except where ``because`` says why it cannot.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

MINUTES = {"time": "00:10:00"}
BASES: dict[str, dict[str, Any]] = {
    "lumi": {"partition": "standard-g", "gpus_per_node": 8, "account": "project_465000001", **MINUTES},
    "jupiter": {"partition": "booster", "gpus_per_node": 4, "account": "e-aif-2026fl01-123", **MINUTES},
}


@dataclass(frozen=True, kw_only=True)
class Row:
    """One job and what is expected of it.

    Attributes:
        site: Key of ``BASES``.
        changes: Fields of the job over the base: of ``resources``, or ``launch.kind`` and so on by their dotted key.
        refused: Key of the problem that check refuses the job for; empty where it takes the job.
        because: Why the controller of a test cluster comes to the opposite verdict; empty where it agrees.
    """

    site: str
    changes: dict[str, Any]
    refused: str = ""
    because: str = ""

    @property
    def name(self) -> str:
        """For messages."""
        return f"{self.site}: " + (", ".join(f"{key}={value!r}" for key, value in self.changes.items()) or "base")


def lumi(refused: str = "", because: str = "", **changes: Any) -> Row:
    """A row for LUMI."""
    return Row(site="lumi", changes=changes, refused=refused, because=because)


def jupiter(refused: str = "", because: str = "", **changes: Any) -> Row:
    """A row for JUPITER."""
    return Row(site="jupiter", changes=changes, refused=refused, because=because)


PARTITION, ACCOUNT, QOS = "resources.partition", "resources.account", "resources.qos"
TIME, NODES, GPUS, MEMORY = "resources.time", "resources.nodes", "resources.gpus_per_node", "resources.memory"
TASKS, CPUS = "resources.tasks_per_node", "resources.cpus_per_task"

NO_GPUS = "Slurm takes a job on GPU nodes that asks for no GPU; it would see none, which is why check refuses it"
NEGATIVE = "sbatch 22.05 reads -1 as no number of nodes and gives one"
ZERO_MEMORY = "to Slurm 0 means all memory of the node; check wants a number that can be compared and billed"
MEMBERS = "which accounts exist and who belongs to them is known to the site's database only"
OWN_RESERVATION = "reservations come and go, and a user may have one of their own: check warns"
APPOINTMENT = "who has an appointment is known to the site only: check warns"
FILTER = "the reservation's limits are those of the site's own filters; a plain slurmctld knows none but its nodes"
PATHS = "Slurm does not look at paths; the nodes of the site would not find them"
SECRET = "Slurm shows whatever a job holds to whoever asks; that it is a secret is for check to say"
SHAPE = "what a program starts is nothing that Slurm looks at"
PERCENT = "to Slurm %2 is the limit, which is a field of its own here"
PAIRS = "Slurm takes aftercorr for a job that is no array and never starts it as one would expect"
HOSTS = "a site adds and removes nodes, so the profile's names are not binding"
FEATURES = "which features nodes have is known to the site only"
NO_WARNING = "a warning 0 s before the end is legal to Slurm, and of no use"
WORDS = "to Slurm any word is somebody to write to"
MOUNTED = "a control character in a folder is legal to Slurm and breaks #SBATCH lines"


def part(kind: str = "srun", **asked: Any) -> dict[str, Any]:
    """A component of a heterogeneous job for LUMI."""
    resources = {"partition": "standard", "account": BASES["lumi"]["account"], **MINUTES} | asked
    return {"resources": resources, "launch": {"kind": kind, "command": ["load.py"]}}


CPU = {"gpus_per_node": 0}
ROWS: tuple[Row, ...] = (
    # --- LUMI: partitions and their size
    lumi(),
    lumi(nodes=2),
    lumi(nodes=1024),
    lumi(NODES, nodes=1025),
    lumi(NODES, nodes=2728),
    lumi(NODES, nodes=1_000_000),
    lumi(NODES, nodes=0),
    lumi(NODES, nodes=-1, because=NEGATIVE),
    lumi(partition="small-g", nodes=4),
    lumi(NODES, partition="small-g", nodes=5),
    lumi(partition="dev-g", nodes=8),
    lumi(NODES, partition="dev-g", nodes=9),
    lumi(partition="standard", nodes=512, **CPU),
    lumi(NODES, partition="standard", nodes=513, **CPU),
    lumi(partition="small", nodes=4, **CPU),
    lumi(NODES, partition="small", nodes=5, **CPU),
    lumi(partition="debug", nodes=4, **CPU),
    lumi(NODES, partition="debug", nodes=5, **CPU),
    lumi(partition="largemem", **CPU),
    lumi(NODES, partition="largemem", nodes=2, **CPU),
    lumi(partition="lumid", gpus_per_node=1),
    lumi(NODES, partition="lumid", gpus_per_node=1, nodes=2),
    lumi(PARTITION, partition=""),
    lumi(PARTITION, partition="standardg"),
    lumi(PARTITION, partition="Standard-G"),
    lumi(PARTITION, partition="booster"),
    lumi(partition="bench", because=APPOINTMENT),
    lumi(partition="fmr-g", because=APPOINTMENT),
    lumi(partition="fmr", because=APPOINTMENT, **CPU),
    # --- LUMI: time
    lumi(time="2-00:00:00"),
    lumi(TIME, time="2-00:00:01"),
    lumi(TIME, time="49:00:00"),
    lumi(time="00:00:01"),
    lumi(time="1"),
    lumi(TIME, time="00:00:00"),
    lumi(TIME, time="0"),
    lumi(partition="small-g", time="3-00:00:00"),
    lumi(TIME, partition="small-g", time="3-00:00:01"),
    lumi(partition="dev-g", time="02:00:00"),
    lumi(TIME, partition="dev-g", time="02:00:01"),
    lumi(TIME, partition="dev-g", time="03:00:00"),
    lumi(partition="debug", time="00:30:00", **CPU),
    lumi(TIME, partition="debug", time="00:30:01", **CPU),
    lumi(partition="largemem", time="1-00:00:00", **CPU),
    lumi(TIME, partition="largemem", time="1-00:00:01", **CPU),
    lumi(partition="lumid", gpus_per_node=1, time="4:00:00"),
    lumi(TIME, partition="lumid", gpus_per_node=1, time="4:00:01"),
    # --- LUMI: GPUs
    lumi(GPUS, gpus_per_node=9),
    lumi(GPUS, gpus_per_node=16),
    lumi(GPUS, gpus_per_node=-1),
    lumi(GPUS, gpus_per_node=0, because=NO_GPUS),
    lumi(gpus_per_node=4),
    lumi(partition="small-g", gpus_per_node=1),
    lumi(GPUS, partition="lumid", gpus_per_node=2),
    lumi(GPUS, partition="lumid", gpus_per_node=9),
    lumi(GPUS, partition="small-g", gpus_per_node=9),
    lumi(GPUS, partition="standard", gpus_per_node=1),
    lumi(GPUS, partition="small", gpus_per_node=8),
    lumi(GPUS, partition="largemem", gpus_per_node=1),
    # --- LUMI: cores, 56 of 64 on LUMI-G
    lumi(tasks_per_node=1, cpus_per_task=56),
    lumi(CPUS, tasks_per_node=1, cpus_per_task=57),
    lumi(CPUS, tasks_per_node=1, cpus_per_task=64),
    lumi(CPUS, tasks_per_node=1, cpus_per_task=65),
    lumi(CPUS, cpus_per_task=8),
    lumi(CPUS, cpus_per_task=0),
    lumi(tasks_per_node=56, cpus_per_task=1),
    lumi(TASKS, tasks_per_node=57, cpus_per_task=1),
    lumi(TASKS, tasks_per_node=64),
    lumi(TASKS, tasks_per_node=0),
    lumi(tasks_per_node=4, cpus_per_task=14),
    lumi(CPUS, tasks_per_node=4, cpus_per_task=15),
    lumi(partition="small-g", gpus_per_node=2, tasks_per_node=2, cpus_per_task=28),
    lumi(CPUS, partition="small-g", gpus_per_node=2, tasks_per_node=2, cpus_per_task=29),
    lumi(partition="standard", tasks_per_node=128, cpus_per_task=1, **CPU),
    lumi(TASKS, partition="standard", tasks_per_node=129, cpus_per_task=1, **CPU),
    lumi(CPUS, partition="standard", tasks_per_node=128, cpus_per_task=2, **CPU),
    lumi(partition="standard", tasks_per_node=2, cpus_per_task=64, **CPU),
    lumi(partition="small", nodes=2, tasks_per_node=3, cpus_per_task=42, **CPU),
    lumi(CPUS, partition="small", nodes=2, tasks_per_node=3, cpus_per_task=43, **CPU),
    # --- LUMI: memory and its forms
    lumi(memory="480G"),
    lumi(memory="491520M"),
    lumi(memory="491520"),
    lumi(memory="503316480K"),
    lumi(MEMORY, memory="480T"),
    lumi(MEMORY, memory="481G"),
    lumi(MEMORY, memory="491521M"),
    lumi(MEMORY, memory="503316481K"),
    lumi(MEMORY, memory="512G", nodes=1024),
    lumi(MEMORY, memory="0", because=ZERO_MEMORY),
    lumi(memory="1K", partition="small-g", gpus_per_node=1),
    lumi(memory="60G", partition="small-g", gpus_per_node=1),
    lumi(MEMORY, memory="481G", partition="small-g", gpus_per_node=1),
    lumi(memory="224G", partition="standard", **CPU),
    lumi(MEMORY, memory="225G", partition="standard", **CPU),
    lumi(memory="480G", partition="small", **CPU),
    lumi(memory="992G", partition="small", **CPU),
    lumi(MEMORY, memory="993G", partition="small", **CPU),
    lumi(MEMORY, memory="225G", partition="debug", **CPU),
    lumi(memory="4000G", partition="largemem", **CPU),
    lumi(MEMORY, memory="4001G", partition="largemem", **CPU),
    lumi(memory="2000G", partition="lumid", gpus_per_node=1),
    lumi(MEMORY, memory="2001G", partition="lumid", gpus_per_node=1),
    # --- LUMI: accounts, QOS, reservations
    lumi(ACCOUNT, account=""),
    lumi(ACCOUNT, account="465000001"),
    lumi(ACCOUNT, account="project_46500000"),
    lumi(ACCOUNT, account="project_4650000011"),
    lumi(account="project_465999999", because=MEMBERS),
    lumi(account="project_465000001", reservation="hackathon", because=OWN_RESERVATION),
    lumi(qos="normal"),
    # --- LUMI: names, words, launch kinds
    lumi(name="a" * 64),
    lumi(name="a.b_c+d-e"),
    lumi(**{"launch.kind": "command", "launch.command": ["echo", "#SBATCH --nodes=4", "a'; echo $(id) #", "naïve\t"]}),
    lumi(env={"GREETING": 'it\'s "odd" $HOME `id` \\ \n#SBATCH --time=9-0\n'}),
    lumi(**{"launch.kind": "torchrun", "launch.command": ["train.py"]}),
    lumi("launch.command", SHAPE, **{"launch.kind": "torchrun", "launch.command": ["python", "train.py"]}),
    lumi(TASKS, SHAPE, **{"launch.kind": "torchrun", "launch.command": ["train.py"], "tasks_per_node": 8}),
    lumi(workdir="/scratch/project_465000001/with space/naïve"),
    lumi("workdir", PATHS, workdir="/home/ada"),
    lumi("launch.command", PATHS, **{"launch.command": ["/home/ada/train"]}),
    lumi("workdir", MOUNTED, workdir="/scratch/project_465000001/a\tb"),
    # --- LUMI: arrays, and what else is asked of Slurm; to the limit only where no other test has jobs that count
    lumi(**{"array.count": 200}),
    lumi("array.count", partition="small", **CPU, **{"array.count": 2000}),
    lumi(**{"array.tasks": "0-99:2", "array.limit": 4}),
    lumi(**{"array.tasks": "7"}),
    lumi(**{"array.tasks": "1000"}),
    lumi(**{"array.tasks": "1001"}),
    lumi(**{"array.tasks": "990-1010", "array.limit": 2}),
    lumi("array.tasks", partition="small", **CPU, **{"array.tasks": "0-300"}),
    lumi("array.tasks", **{"array.tasks": "5-1"}),
    lumi("array.tasks", **{"array.tasks": "a-b"}),
    lumi("array.tasks", PERCENT, **{"array.tasks": "0-9%2"}),
    lumi(partition="dev-g", **{"array.count": 2}),
    lumi("array.count", partition="dev-g", **{"array.count": 3}),
    lumi(partition="small", **CPU, **{"array.count": 220}),
    lumi("array.count", partition="small", **CPU, **{"array.count": 221}),
    lumi("array.count", partition="largemem", **CPU, **{"array.count": 31}),
    lumi("array.count", partition="lumid", gpus_per_node=1, **{"array.count": 2}),
    lumi(time="2-00:00:00", **{"chain.total": "4-00:00:00"}),
    lumi("chain.total", time="01:00:00", partition="dev-g", **{"chain.total": "03:00:00"}),
    lumi(**{"after.singleton": True}),
    lumi(**{"after.ok": ["4000000000"]}),
    lumi("after.corr", PAIRS, **{"after.corr": ["1"]}),
    lumi(signal="USR1@120"),
    lumi(signal="B:TERM@60"),
    lumi(signal="USR2@65535"),
    lumi("signal", signal="USR1@65536"),
    lumi("signal", signal="FOO@10"),
    lumi("signal", SHAPE, signal="USR1@120", **{"launch.kind": "command"}),
    lumi(requeue=True),
    lumi(requeue=False),
    lumi(nodelist="nid[005001-005002]", nodes=2),
    lumi(nodes=2, nodelist="nid005001", exclude="nid005002"),
    lumi("resources.nodelist", nodes=1, nodelist="nid[005001-005002]"),
    lumi("resources.exclude", nodelist="nid005001", exclude="nid[005001-005003]"),
    lumi(because=HOSTS, nodelist="nid999999"),
    lumi(because=FEATURES, constraint="nvme"),
    lumi(**{"mail.events": ["END"]}),
    lumi(**{"launch.kind": "mpi"}),
    lumi(nodes=2, **{"launch.kind": "ray"}),
    lumi(nodes=2, **{"launch.kind": "dask"}),
    # --- LUMI: what is nobody's business, and what would end a line
    lumi("env.HF_TOKEN", SECRET, env={"HF_TOKEN": "hf_" + "aB3" * 11 + "x"}),
    lumi("env.DB_PASSWORD", SECRET, env={"DB_PASSWORD": "correct(horse"}),
    lumi("env.API_KEY", SECRET, env={"API_KEY": "os.environ"}),
    lumi("launch.command", SECRET, **{"launch.command": ["train", "--password", "hunter2hunter2"]}),
    lumi("name", SECRET, name="AKIA" + "ABCDEFGH" * 2),
    lumi(env={"HF_TOKEN_PATH": "/scratch/project_465000001/token", "TOKENIZERS_PARALLELISM": "false"}),
    lumi(env={"OMP_NUM_THREADS": "7\n#SBATCH --nodes=2000"}),
    lumi("name", name="train\n#SBATCH --time=9-0"),
    lumi("workdir", workdir="/scratch/project_465000001\n#SBATCH --time=9-0"),
    # --- LUMI: mail, features, nodes
    lumi(**{"mail.events": ["END", "FAIL"], "mail.user": "ada@example.org"}),
    lumi("mail.user", WORDS, **{"mail.events": ["END"], "mail.user": "ada; id"}),
    lumi("mail.events", **{"mail.events": ["ENDED"]}),
    lumi("resources.constraint", constraint="a b"),
    lumi("resources.exclude", exclude="nid[005001"),
    lumi(exclude="nid[005001-005002]"),
    lumi("resources.nodelist", nodelist="nid005001;id"),
    # --- LUMI: heterogeneous jobs
    lumi(components=[part("mpi")], **{"launch.kind": "mpi"}),
    lumi("components[0].launch.kind", SHAPE, components=[part("torchrun")]),
    lumi(components=[part()]),
    lumi(components=[part(nodes=512)]),
    lumi("components[0].resources.nodes", components=[part(nodes=513)]),
    lumi("components[0].resources.time", components=[part(time="2-00:00:01")]),
    lumi("components[0].resources.memory", components=[part(memory="225G")]),
    lumi(NODES, nodes=1025, components=[part()]),
    # --- JUPITER: partitions and their size
    jupiter(),
    jupiter(nodes=4),
    jupiter(nodes=2048),
    jupiter(NODES, nodes=2049),
    jupiter(NODES, nodes=6000),
    jupiter(NODES, nodes=0),
    jupiter(PARTITION, partition=""),
    jupiter(PARTITION, partition="devel"),
    jupiter(PARTITION, partition="develbooster"),
    jupiter(partition="largebooster", because=APPOINTMENT),
    # --- JUPITER: time, by QOS
    jupiter(time="12:00:00"),
    jupiter(TIME, time="12:00:01"),
    jupiter(TIME, time="1-00:00:00"),
    jupiter(time="00:00:01"),
    jupiter(TIME, time="00:00:00"),
    jupiter(qos="normal", time="12:00:00"),
    jupiter(TIME, qos="normal", time="12:00:01"),
    jupiter(qos="lowcont", time="06:00:00"),
    jupiter(TIME, qos="lowcont", time="06:00:01"),
    jupiter(qos="nocont", time="06:00:00"),
    jupiter(TIME, qos="nocont", time="12:00:00"),
    jupiter(QOS, qos="part_booster"),
    jupiter(QOS, qos="high"),
    jupiter(QOS, qos="normale"),
    # --- JUPITER: the reservation for development
    jupiter(reservation="develbooster", nodes=4),
    jupiter(reservation="develbooster", time="02:00:00"),
    jupiter(NODES, reservation="develbooster", nodes=5, because=FILTER),
    jupiter(NODES, reservation="develbooster", nodes=9),
    jupiter(TIME, reservation="develbooster", time="02:00:01", because=FILTER),
    jupiter(TIME, reservation="develbooster", time="12:00:01"),
    jupiter(reservation="develboost", because=OWN_RESERVATION),
    # --- JUPITER: arrays, and what else is asked of Slurm
    jupiter(**{"array.count": 1001}),
    jupiter(**{"array.count": 1002}),
    jupiter(**{"array.tasks": "5000-5010:5"}),
    jupiter(qos="lowcont", **{"array.count": 64}),
    jupiter("array.count", qos="lowcont", **{"array.count": 65}),
    jupiter(qos="nocont", **{"array.tasks": "1000-1063"}),
    jupiter("array.tasks", qos="nocont", **{"array.tasks": "1000-1064"}),
    jupiter("array.count", FILTER, reservation="develbooster", **{"array.count": 5}),
    jupiter(time="12:00:00", **{"chain.total": "3-00:00:00"}),
    jupiter("chain.total", time="00:30:00", qos="nocont", **{"chain.total": "1-12:00:00"}),
    jupiter(**{"after.singleton": True}),
    jupiter(signal="USR1@120"),
    jupiter("signal", signal="USR1@0", because=NO_WARNING),
    jupiter(requeue=False),
    jupiter(nodelist="jpbo-101-01"),
    jupiter(because=FEATURES, constraint="gh200"),
    jupiter(nodes=2, **{"launch.kind": "ray"}),
    jupiter("env.WANDB_API_KEY", SECRET, env={"WANDB_API_KEY": "0123456789abcdef" * 2}),
    jupiter("launch.command", SECRET, **{"launch.command": ["train", "--url=https://ada:s3cret@example.org/"]}),
    jupiter(**{"mail.events": ["ALL"], "mail.user": "ada"}),
    jupiter(exclude="jpbo-101-01"),
    jupiter("resources.constraint", constraint="gh200 gh200"),
    # --- JUPITER: GPUs, cores, memory
    jupiter(GPUS, gpus_per_node=5),
    jupiter(GPUS, gpus_per_node=8),
    jupiter(GPUS, gpus_per_node=0, because=NO_GPUS),
    jupiter(gpus_per_node=1),
    jupiter(tasks_per_node=1, cpus_per_task=288),
    jupiter(CPUS, tasks_per_node=1, cpus_per_task=289),
    jupiter(cpus_per_task=72),
    jupiter(CPUS, cpus_per_task=73),
    jupiter(tasks_per_node=288, cpus_per_task=1),
    jupiter(TASKS, tasks_per_node=289, cpus_per_task=1),
    jupiter(memory="800G"),
    jupiter(memory="858000M"),
    jupiter(MEMORY, memory="858001M"),
    jupiter(MEMORY, memory="2T", nodes=2048),
    # --- JUPITER: accounts, names, words, paths
    jupiter(ACCOUNT, account=""),
    jupiter(ACCOUNT, account="Jureap59"),
    jupiter(ACCOUNT, account="project_465000001"),
    jupiter(account="jureap59", because=MEMBERS),
    jupiter(name="b" * 64),
    jupiter("name", "Slurm takes any name; ours must be safe as a file name, too", name="b" * 65),
    jupiter(**{"launch.kind": "torchrun", "launch.command": ["train.py", "--text", 'it\'s "odd"']}),
    jupiter(workdir="/e/scratch/e-aif-2026fl01-123/with space"),
    jupiter("workdir", PATHS, workdir="/p/scratch/e-aif-2026fl01-123"),
    jupiter("launch.command", PATHS, **{"launch.command": ["/p/home/jusers/ada/train"]}),
)
