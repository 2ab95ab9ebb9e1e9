#!/bin/bash
# host_init.sh FOLDER HOSTNAME KEEP : the first process of one host of the test bed.
#
# Runs inside new network, PID, mount, UTS and IPC namespaces and gives the host what makes it a separate
# machine to a program that looks: a name, its own /etc files, /tmp, /dev/shm, /run, /opt and home folders.
# FOLDER holds the files written by hosts.py; KEEP is a file that lists paths to show where they are, "FROM TO".
set -eu
folder=$1 name=$2 keep=$3

hostname "$name"
mount --make-rprivate /
# The paths the environment needs may lie below what is covered next: hold on to them first.
mkdir -p "$folder/keep"
i=0
while read -r from to; do
    i=$((i + 1))
    mkdir -p "$folder/keep/$i"
    mount --bind "$from" "$folder/keep/$i"
done < "$keep"

for file in hosts hostname passwd shadow group resolv.conf; do
    mount --bind "$folder/etc/$file" "/etc/$file"
done
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -m 755 /run/sshd
# On a machine with GPUs: only those of this host. nodev, for a driver's library run as root would make the others.
if [ -f "$folder/gpus" ]; then
    mkdir -p "$folder/dev"
    mount --rbind /dev "$folder/dev"
    mount -t tmpfs -o mode=755,nodev tmpfs /dev
    for from in "$folder"/dev/*; do
        base=$(basename "$from")
        case $base in
            nvidia[0-9]*) grep -qx "${base#nvidia}" "$folder/gpus" || continue ;;
        esac
        if [ -L "$from" ]; then
            cp -P "$from" "/dev/$base"
        elif [ -d "$from" ]; then
            mkdir "/dev/$base"
            mount --rbind "$from" "/dev/$base"
        elif [ -e "$from" ]; then
            : > "/dev/$base"
            mount --bind "$from" "/dev/$base"
        fi
    done
fi
mount -t tmpfs -o "mode=1777,size=$(cat "$folder/shm-size" 2> /dev/null || echo 2g)" tmpfs /dev/shm
mount -t tmpfs -o "mode=1777,size=$(cat "$folder/tmp-size")" tmpfs /tmp
if [ -f "$folder/systemd" ]; then
    # It outlives a reboot, as a disk does.
    mkdir -p -m 755 "$folder/root"
    mount --bind "$folder/root" /root
else
    mount -t tmpfs -o mode=755,size=512m tmpfs /root
fi
mount -t tmpfs -o mode=755,size=512m tmpfs /home
mount -t tmpfs -o mode=755 tmpfs /opt
mkdir -m 755 /opt/models
mount -t overlay -o "lowerdir=$folder/bin:/usr/local/bin" overlay /usr/local/bin
install -d -m 700 -o lab -g lab /home/lab

i=0
while read -r from to; do
    i=$((i + 1))
    mkdir -p "$to"
    mount --bind "$folder/keep/$i" "$to"
    # Several hosts show the same files: an installer on one must not change the others.
    mount -o remount,bind,ro "$to"
done < "$keep"

for home in /root /home/lab; do
    install -d -m 700 "$home/.ssh"
    install -m 600 "$folder/authorized_keys" "$home/.ssh/authorized_keys"
done
chown -R lab:lab /home/lab/.ssh

[ ! -f "$folder/systemd" ] || . "$(dirname "$0")/host_systemd.sh"
/usr/sbin/sshd -D -e -f "$folder/sshd_config" &
echo $! > "$folder/sshd.pid"
touch "$folder/up"
# bash stays: a first process must collect orphans, and the host must outlive a killed sshd.
while :; do
    sleep 3600 &
    wait -n || true
done
