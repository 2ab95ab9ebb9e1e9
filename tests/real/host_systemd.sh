# shellcheck shell=bash disable=SC2154
# Sourced by host_init.sh: systemd becomes the first process of the host. Its units are kept in FOLDER and
# outlive a reboot, as on a disk. What would touch the machine below (sysctl, modules, udev) is masked.
mkdir -p "$folder/units/upper" "$folder/units/work"
mount -t overlay -o "lowerdir=/etc/systemd/system,upperdir=$folder/units/upper,workdir=$folder/units/work" \
    overlay /etc/systemd/system
mount --bind /proc/sys /proc/sys
mount -o remount,bind,ro /proc/sys

for kept in /var/log/journal /var/lib/systemd; do
    [ ! -d "$kept" ] || mount -t tmpfs -o mode=755 tmpfs "$kept"
done

mkdir -p /run/systemd/system
for unit in systemd-sysctl.service systemd-modules-load.service systemd-udevd.service systemd-udev-trigger.service \
    systemd-binfmt.service proc-sys-fs-binfmt_misc.automount postgresql.service postgresql@.service ssh.service \
    ssh.socket getty.target console-getty.service systemd-timesyncd.service systemd-networkd.service \
    networking.service cron.service docker.service docker.socket containerd.service apt-daily.timer \
    apt-daily-upgrade.timer systemd-update-utmp.service systemd-remount-fs.service tmp.mount \
    systemd-tmpfiles-setup.service systemd-tmpfiles-setup-dev.service systemd-journal-flush.service \
    e2scrub_reap.service systemd-random-seed.service; do
    ln -sf /dev/null "/run/systemd/system/$unit"
done
cat > /run/systemd/system/bed-sshd.service <<UNIT
[Unit]
DefaultDependencies=no
[Service]
ExecStart=/usr/sbin/sshd -D -e -f $folder/sshd_config
RuntimeDirectory=sshd
KillMode=process
UNIT
cat > /run/systemd/system/bed.target <<UNIT
[Unit]
Wants=bed-sshd.service dbus.service systemd-logind.service multi-user.target
AllowIsolate=yes
UNIT
# A fresh tree of its own: on cgroup v1 systemd needs the named hierarchy, on v2 the one there is.
if [ -d /sys/fs/cgroup ]; then
    if mount -t cgroup2 cgroup2 /sys/fs/cgroup 2> /dev/null && grep -q memory /sys/fs/cgroup/cgroup.controllers; then
        :
    else
        umount /sys/fs/cgroup 2> /dev/null || true
        mount -t tmpfs -o mode=755 cgroup /sys/fs/cgroup
        mkdir -p /sys/fs/cgroup/systemd /sys/fs/cgroup/unified
        mount -t cgroup -o none,name=systemd,xattr cgroup /sys/fs/cgroup/systemd
        mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified
    fi
fi
exec env -i container=milepost-test PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    /lib/systemd/systemd --system --unit=bed.target --log-target=console --show-status=no
