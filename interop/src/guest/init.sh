#!/bin/sh
# First process of a guest. / is the tree of interop/setup.sh (hostfs, read-only), /host the
# story's directory. Then: lines "N" on standard input, each to run /host/jobs/N.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TERM=dumb
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t hostfs none /host -o "$share" # again, writable
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /tmp
mount -t tmpfs tmpfs /var/log

# The kernel's modules are those of the host's package.
kernel=$(uname -r)
mount -t tmpfs tmpfs /lib/modules
mkdir "/lib/modules/$kernel"
mount -t hostfs none "/lib/modules/$kernel" -o "/usr/lib/uml/modules/$kernel"
modprobe -a xfrm_user esp4 dummy gcm seqiv echainiv authenc ctr cbc ghash-generic \
	sha512_generic chacha20poly1305 2>/dev/null

stty -echo </dev/console
ip link set lo up
: >/host/booted
while read -r job; do
	sh "/host/jobs/$job" >"/host/jobs/$job.out" 2>&1 </dev/null
	echo $? >"/host/jobs/$job.part"
	mv "/host/jobs/$job.part" "/host/jobs/$job.status"
done
