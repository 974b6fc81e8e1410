#!/bin/sh
# Before the first package is unpacked into the guest's system at $1.
set -eu
root=$1

# The disk, and the file system on it: all that has to be mounted before the modules are at hand.
mkdir -p "$root/etc/initramfs-tools/conf.d" "$root/usr/share/initramfs-tools/modules.d"
printf "%s\n" MODULES=list COMPRESS=gzip >"$root/etc/initramfs-tools/conf.d/keyward"
printf '%s\n' virtio_pci virtio_blk ext4 >"$root/usr/share/initramfs-tools/modules.d/keyward"

# Tests start what they need by themselves; and nothing else is to take time from them.
mkdir -p "$root/etc/systemd/system"
for unit in apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service \
    postgresql.service redis-server.service ssh.service systemd-timesyncd.service; do
    ln -s /dev/null "$root/etc/systemd/system/$unit"
done
