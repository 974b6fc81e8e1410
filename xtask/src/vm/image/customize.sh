#!/bin/sh
# Once the packages are installed in the guest's system at $1: the kernels whose packages lie below $KERNELS, one
# directory a kernel, and the unit that does what a guest is for. What a machine boots from goes to $BOOT.
set -eu
root=$1

# Nothing has to be waited for: the drivers are named, and the kernel makes the disk's name by itself.
for script in hooks/udev scripts/init-top/udev scripts/init-bottom/udev; do
    rm -f "$root/usr/share/initramfs-tools/$script"
done

for kernel in "$KERNELS"/*/; do
    release=$(basename "$kernel")
    unpacked=$(mktemp -d)
    for package in "$kernel"*.deb; do
        dpkg -x "$package" "$unpacked"
    done
    # In the packages of some kernels /lib is a directory of its own.
    for modules in "$unpacked/lib/modules" "$unpacked/usr/lib/modules"; do
        [ ! -d "$modules" ] || cp -a "$modules/." "$root/usr/lib/modules/"
    done
    for file in vmlinuz config; do
        found=$(find "$unpacked" -name "$file-$release" -o -path "*/modules/$release/$file")
        cp "$found" "$root/boot/$file-$release"
    done
    rm -rf "$unpacked"
    chroot "$root" depmod "$release"
    chroot "$root" mkinitramfs -o "/boot/initrd.img-$release" "$release"
    mkdir -p "$BOOT/$release"
    cp "$root/boot/vmlinuz-$release" "$BOOT/$release/vmlinuz"
    cp "$root/boot/initrd.img-$release" "$BOOT/$release/initrd.img"
    chmod 644 "$BOOT/$release"/*
done

echo keyward-guest >"$root/etc/hostname"
printf '127.0.0.1 localhost keyward-guest\n::1 localhost\n' >"$root/etc/hosts"
mkdir "$root/payload"
printf '%s\n' '/dev/vda / ext4 defaults 0 0' '/dev/vdb /payload ext4 defaults 0 0' >"$root/etc/fstab"
cp "$UNIT" "$root/etc/systemd/system/keyward-guest.service"
mkdir -p "$root/etc/systemd/system/multi-user.target.wants"
ln -s ../keyward-guest.service "$root/etc/systemd/system/multi-user.target.wants/"
