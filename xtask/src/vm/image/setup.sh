#!/bin/sh
# Before the first package is unpacked into the guest's system at $1.
set -eu
root=$1

# The disk, and the file system on it: all that has to be mounted before the modules are at hand.
mkdir -p "$root/etc/initramfs-tools/conf.d" "$root/usr/share/initramfs-tools/modules.d"
printf '%s\n' MODULES=list COMPRESS=gzip >"$root/etc/initramfs-tools/conf.d/keyward"
printf '%s\n' virtio_pci virtio_blk ext4 >"$root/usr/share/initramfs-tools/modules.d/keyward"

# Tests start what they need by themselves; and nothing else is to take time from them.
mkdir -p "$root/etc/systemd/system"
for unit in apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service \
    fstrim.timer getty@.service modprobe@.service postgresql.service redis-server.service serial-getty@.service \
    ssh.service; do
    ln -s /dev/null "$root/etc/systemd/system/$unit"
done

# Drivers of what a machine of QEMU's has, and nobody here uses.
mkdir -p "$root/etc/modprobe.d"
for module in ata_generic ata_piix cdrom floppy i2c_piix4 kvm_amd kvm_intel pcspkr powernow_k8 psmouse sr_mod; do
    echo "blacklist $module"
done >"$root/etc/modprobe.d/keyward.conf"
