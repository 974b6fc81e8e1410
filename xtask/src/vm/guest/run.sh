#!/bin/sh
# What a guest does once systemd has started it: /payload/job says which mode, and where the workspace is on the
# machine that built it; /payload/tests has a program of the workspace a line, behind the name of its tests. What is printed
# goes to the host.
set -u
. /payload/job

# udev may be late with it. What is written to a name that is not there yet makes a file, and nobody hears of it.
until [ -c /dev/virtio-ports/keyward ]; do sleep 0.1; done
mkdir -p "$WORKSPACE"
mount --bind /payload/workspace "$WORKSPACE"
install -m 755 "$WORKSPACE/target/debug/keyward" "$WORKSPACE/target/debug/keyward-proxy" /usr/local/bin/
export HOME=/root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export INSTA_WORKSPACE_ROOT="$WORKSPACE" INSTA_UPDATE=no RUST_BACKTRACE=1
cd "$WORKSPACE/e2e" || exit

tests() {
    while read -r name program arguments; do
        echo "== test $name"
        # shellcheck disable=SC2086
        "$WORKSPACE/$program" $arguments </dev/null
        echo "== status $?"
    done </payload/tests
}

# Each start but the first comes after a power failure: it is looked at, and then runs go on until the next one.
power() {
    starts=$(($(cat /var/lib/starts 2>/dev/null || echo 0) + 1))
    echo "$starts" >/var/lib/starts
    sync
    echo "== start $starts"
    # shellcheck disable=SC2012
    echo "== found $(ls /var/log/keyward 2>/dev/null | wc -l) logs, $(ls /var/lib/keyward 2>/dev/null | wc -l) states"
    tests
    [ "$starts" -le "$RESETS" ] || return
    for _ in 1 2; do
        while :; do
            OPENAI_API_KEY=sk-of-a-run-that-loses-its-power keyward run --user 12345:12345 --allow-domains allowed.test -- \
                sh -c 'for n in 1 2 3 4 5; do echo $n >/tmp/written; python3 -c "import socket; socket.create_connection((\"192.0.2.$n\", 80))"; done'
        done >/dev/null 2>&1 &
    done
    # What runs write is to reach the disk before the power goes: in the kernel's own time, little of it would.
    while sleep 0.2; do sync; done &
    echo "== running"
    while sleep 0.05; do echo "== tick"; done
}

{
    echo "== doctor"
    found=$(keyward doctor)
    echo "$found"
    # What this kernel lacks is done without, and the rest is tested.
    lacking=$(echo "$found" | sed -n 's/^lacking *\([^ ]*\) .*/\1/p' | paste -s -d ,)
    if [ -n "$lacking" ]; then
        export KEYWARD_ALLOW_DEGRADED="$lacking"
        systemctl set-environment KEYWARD_ALLOW_DEGRADED="$lacking"
    fi
    case $MODE in
    suites) tests ;;
    power) power ;;
    shell) setsid -c sh -i </dev/ttyS0 >/dev/ttyS0 2>&1 ;;
    esac
    echo "== end"
    # Through a pipe, as anywhere else: a test may look at what its output is.
} 2>&1 | cat >/dev/virtio-ports/keyward
