"""What runs on a site to submit exactly once, and to tell afterwards what became of it: POSIX shell.

**The claim.** Each job has a folder, and in it the file ``receipt``. Whoever makes that file (``O_EXCL``, which exactly
one caller can win on any file system) may call ``sbatch``, and writes its answer into it. A submission is therefore
safe to send again under the same token: what has begun is not begun twice.

**The fence.** When the wire goes silent, the receipt is made by whoever looks. If that wins, the submission never began
and never will. If there is an id in it, that is the job. If it is empty, ``squeue`` and ``sacct`` are asked for the
token in the job's name and comment, and only if all of them know nothing is the outcome left unknown.

**The silence.** Where sbatch itself has told that it lost the controller, the outcome is not unknown for ever: half an
hour later the controller has the job in its queue, or accounting knows it, or it has written to its folder, or there is
none. Where nobody saw sbatch end, a day is waited: what calls it lives for hours at most.

A script that was cut off on its way is never submitted: nothing is claimed before all of them have arrived whole. From
then on the program on the site no longer needs the wire, and goes on to the end of its list.

The tree on the cluster::

    WORKDIR/jobs/TOKEN/         mode 0700
        script.sbatch           what was submitted
        receipt                 the claim; then what sbatch answered: the job id
        refusal                 what it said instead, when it refused
        doubt                   what it said instead, when it did not know itself
        unsent                  nothing was submitted, and never will be
        JOBID.out               standard output and error
        exit                    the sentinel: JOBID RESTARTS CODE EPOCH
"""

from __future__ import annotations

from aifa_hpc.slurm.shell import ASK, CLEAN

_TELL = """
tell() { printf 'aifa: job %s %s\\n' "$1" "$2"; }
words() { LC_ALL=C awk -v job="$1" '{ print "aifa: words " job " " $0 }'; }
claim() { { set -C; printf '' > "./$1/receipt"; } 2> /dev/null; won=$?; set +C; return "$won"; }
known() {
  id=
  if [ -e "./$2/unsent" ]; then
    tell "$1" fenced
  elif [ -e "./$2/refusal" ]; then
    tell "$1" refused
    words "$1" < "./$2/refusal"
  elif { IFS= read -r id < "./$2/receipt"; } 2> /dev/null && [ -n "$id" ]; then
    tell "$1" "receipt $id"
  else
    old=$(cd -- "./$2" && echo * && find . \\( -name doubt -mmin +30 \\) -o \\( -name receipt -mmin +1440 \\))
    case $old in
      'doubt receipt script.sbatch
'* | 'receipt script.sbatch
'*) tell "$1" quiet ;;
      *) tell "$1" begun ;;
    esac
    [ ! -e "./$2/doubt" ] || words "$1" < "./$2/doubt"
  fi
}
"""
"""``claim TOKEN`` wins once; ``known NUMBER TOKEN`` tells what the folder of a token that was claimed says.

``quiet`` is one whose sbatch ended half an hour ago, not knowing what it did, or that was begun a day ago, and whose
folder no job has written to.

awk ends each line of sbatch's words, which sed does not where they do: the next answer must begin a line.

``printf`` and not ``:``, because a failing redirection ends the shell with a special built-in (POSIX 2.8.1).
"""

SUBMIT = (
    CLEAN
    + _TELL
    + """
trap '' HUP PIPE
mask=$(umask)
umask 077
mkdir -p -- "$1" && cd -- "$1" && batch=$(mktemp -d ./.batch.XXXXXX) || exit 73
trap 'rm -rf -- "$batch"' EXIT
sweep() { [ "$#" -eq 1 ] || find "$@" -prune -type d -mmin +1440 -exec rm -rf -- '{}' +; }
sweep ./.batch.*
cat > "$batch/in.gz" || exit 74
if [ "$(wc -c < "$batch/in.gz")" -ne "$2" ]; then
  echo "aifa: cut"
  exit 0
fi
gzip -dc < "$batch/in.gz" > "$batch/in" || exit 74
scripts=$3 queue=$4
set --
while IFS=' ' read -r token lines && [ -n "$token" ]; do set -- "$@" "./$token"; done < "$batch/in"
new=$batch/new
mkdir -- "$new" && (cd -- "$new" && mkdir -- "$@") || exit 73
LC_ALL=C awk -v new="$new/" '
  at_scripts == 0 && $0 == "" { at_scripts = 1; next }
  at_scripts == 0 { token[++count] = $1; lines[count] = $2; next }
  left == 0 { if (at) close(script); script = new token[++at] "/script.sbatch"; left = lines[at] }
  { print > script; left-- }
' "$batch/in" || exit 74
[ "$(cat -- "$new"/*/script.sbatch | wc -c)" -eq "$scripts" ] || exit 74
(cd -- "$new" && mv -f -- "$@" ../..) 2> "$batch/said"
for folder; do
  [ -e "$folder/script.sbatch" ] || [ -e "$folder/receipt" ] || { cat "$batch/said" >&2; exit 74; }
done
lane() {
  mine=$1 number=0
  shift
  for folder; do
    token=${folder#./} number=$((number + 1)) out=$batch/$number.out said=$batch/$number.said
    [ "$((number % lanes))" -eq "$mine" ] || continue
    if [ -e "$batch/full" ] && [ ! -e "./$token/receipt" ]; then
      tell "$number" full
      continue
    fi
    if ! { printf '' > "$out" && printf '' > "$said" && claim "$token"; } 2> /dev/null; then
      known "$number" "$token"
      continue
    fi
    umask "$mask"
    sbatch --parsable --ignore-pbs < "./$token/script.sbatch" > "$out" 2> "$said"
    code=$? id=
    umask 077
    while IFS= read -r line || [ -n "$line" ]; do
      line=${line%%;*}
      case $line in '' | *[!0-9]*) ;; *) id=$line ;; esac
    done < "$out"
    if [ "$code" -eq 0 ] && [ -n "$id" ]; then
      printf '%s\\n' "$id" >> "./$token/receipt"
      tell "$number" "receipt $id"
    elif [ "$code" -eq 0 ] || { [ "$code" -gt 128 ] && [ "$code" -lt 255 ]; } || [ ! -s "$said" ] ||
      grep -E -q 'timed out|Zero Bytes|Unexpected message|reset by peer|(send|receive|shutdown) failure' \
        "$said"; then
      tell "$number" "doubt $code"
      cat "$out" "$said" | cut -c 1-500 | tee "./$token/doubt" | words "$number"
    elif [ -n "$queue" ] && grep -E -q '(Max|Grp)Submit[A-Za-z]*Limit' "$said"; then
      rm -f -- "./$token/receipt"
      : > "$batch/full"
      tell "$number" full
      words "$number" < "$said"
    else
      cat "$said" > "./$token/refusal"
      tell "$number" "refused $code"
      words "$number" < "$said"
    fi
  done
}
trap - EXIT
lanes=1
if [ "$#" -gt 1 ]; then
  lanes=2
  lane 1 "$@" &
fi
lane 0 "$@"
wait
rm -rf -- "$batch"
"""
)
"""``$1`` folder of job folders, ``$2`` bytes of the standard input, ``$3`` bytes of all scripts, ``$4`` not empty: a
job that meets a limit of submitted jobs gives its claim back, and nothing is begun any more.

Standard input, by gzip: a line ``TOKEN LINES`` for each job, an empty line, and the scripts one after the other. Plain,
two hundred of them take a new connection to a far site five round trips more: TCP begins slowly.

A job's folder appears with its script in it, by ``rename``, once the scripts of all of them are written whole; one that
is there already stays as it is. So whoever claims a job finds its script whole, also while the same token is on its way
twice, and a disk that is full has let nothing be claimed.

Two programs work on the list, each on every other job: sbatch waits for the controller half of its time. So a queue's
job may find room that one before it did not find a moment earlier.

Only a refusal that came back counts as one: where sbatch was killed or lost the controller while it spoke with it (the
words are those of Slurm's slurm_errno.c and of ECONNRESET), a job may exist. The user's own umask holds for sbatch,
which hands it on to the job. ``#PBS`` lines are ignored because sbatch obeys them in any line of a script, also inside
quotes. Programs are few on the way of a job: each costs a fifth of an sbatch, a subshell a tenth, which is why sbatch's
answer goes to a file. It is a file for each job, so that what a killed sbatch's children say late is nobody else's id.
It is made before the claim: where there is no inode left for it, nothing is begun.
An sbatch that failed without a word has not refused: a full disk may have swallowed that it lost the controller.

Once jobs are claimed, a shell that is told to end removes no files, because the other lane needs them; what is left of
such is removed by whoever comes a day later.
"""

LOOK = (
    CLEAN
    + ASK
    + _TELL
    + """
umask 077
mkdir -p -- "$1" && cd -- "$1" || exit 73
fence=$2
shift 2
mkdir -p -- "$@" || exit 73
number=0
for folder; do
  token=${folder#./} number=$((number + 1))
  if [ -z "$fence" ] && [ ! -e "./$token/receipt" ]; then
    tell "$number" free
    continue
  elif claim "$token"; then
    : > "./$token/unsent"
  fi
  known "$number" "$token"
done
if IFS= read -r names; then
  ask queue squeue --me --noheader --states=all --format='%i|%j|%k'
  ask accounting sacct -X --noheader --parsable2 --starttime=now-30days --name="$names" --format=JobID,JobName
fi
"""
)
"""``$1`` folder of job folders, ``$2`` not empty: fence off what never began, then the folders; on the standard input
the names of the jobs, with commas. The fence is marked, so that it is known when it is asked for again.

Only the user's own jobs count: everybody can read names in the queue and give them to a job.
"""

LIST = """
[ -d "$1" ] || { echo "aifa: listed"; exit 0; }
cd -- "$1" || exit 73
for folder in */; do
  id=
  [ -s "./${folder}receipt" ] && { IFS= read -r id < "./${folder}receipt" || id=; }
  [ -z "$id" ] || printf 'aifa: held %s %s\\n' "${folder%/}" "$id"
done
echo "aifa: listed"
"""
