#!/bin/sh
# The first and only script of the real guest: no libc, no network configuration, no service manager.
export PATH=/bin:/sbin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
for module in $(cat /modules/order); do insmod /modules/$module.ko; done
for word in $(cat /proc/cmdline); do
    case $word in vmpulse.name=*) hostname "${word#*=}" ;; esac
done
for link in /sys/class/net/*; do ip link set "${link##*/}" up; done
echo 1 > /proc/sys/kernel/sysrq
mkdir -p /run/vmpulse
# The agent comes back when it dies, as a service manager would see to.
(while :; do
    /sbin/vmpulse-agentd < /dev/null
    echo "VMPULSE-AGENT-ENDED $?"
    sleep 1
done) &
# Commands come in here, one a line. The terminal stays open all the time: it would start to echo again once it was
# closed. A shell that read from it directly would be an interactive one, with a prompt and line editing.
until [ -c /dev/hvc0 ]; do sleep 0.1; done
exec 3>&1 < /dev/hvc0 > /dev/hvc0 2>&1
stty raw -echo
echo "VMPULSE-GUEST-UP $(uname -r)" >&3
exec 3>&-
while :; do
    while IFS= read -r line; do sh -c "$line"; done
    sleep 1
done
