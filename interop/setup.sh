#!/bin/bash
# Installs what the interop tests need on Debian 12: strongSwan and the tools from the
# distribution, a tree of Debian 13 with libreswan 5.2 (the first with session resumption)
# that a User Mode Linux guest runs from, a tree of Debian unstable with strongSwan 6 (the
# first with ML-KEM) that runs by chroot, and one of Debian 13 with systemd-resolved, openresolv
# and dnsmasq that do so too: installed, they would take over the machine's own names. Uses the
# mirror that apt is configured with.
#
#   setup.sh            install what is missing; prints it; quick when nothing is
#   setup.sh --tools    without the peers: what the demo needs
#   setup.sh --remove   delete the trees (packages stay)
#
# The trees live in ${CYGNET_INTEROP_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/cygnet-interop}.
set -euo pipefail

tools=(iproute2 iputils-ping nftables openssl tcpdump util-linux)
peers=(
	charon-systemd strongswan-swanctl strongswan-pki
	libcharon-extra-plugins libcharon-extauth-plugins
	libstrongswan-extra-plugins libstrongswan-standard-plugins
	user-mode-linux mmdebstrap gcc libc6-dev
)
# What the guest runs, beside what these depend on.
tree_packages=(
	base-files base-passwd libc-bin dash coreutils grep sed mawk
	util-linux mount kmod iproute2 iputils-ping libreswan
)
# strongSwan 6 and what it takes to run it.
sid_packages=(
	base-files base-passwd libc-bin dash coreutils iproute2
	charon-systemd libcharon-extra-plugins
	libstrongswan-extra-plugins libstrongswan-standard-plugins
)
# What resolves names, and a name server for it to ask.
names_packages=(
	base-files base-passwd libc-bin dash coreutils grep sed mawk mount
	dbus-daemon systemd-resolved dnsmasq-base
)
cache=${CYGNET_INTEROP_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/cygnet-interop}

main() {
	[ "$(id -u)" = 0 ] || fail "must be root"
	case ${1:-} in
	--remove) rm -rf --one-file-system "$cache" ;;
	--tools) install_packages "${tools[@]}" ;;
	'')
		install_packages "${tools[@]}" "${peers[@]}"
		make_trees
		make_xstate
		;;
	*) fail "unknown argument $1" ;;
	esac
}

install_packages() {
	local missing=()
	mapfile -t missing < <(comm -23 <(printf '%s\n' "$@" | sort) <(installed "$@"))
	[ ${#missing[@]} -gt 0 ] || return 0
	say "installing ${missing[*]}"
	apt-get update -q >/dev/null
	DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}" >/dev/null
	# The tests run their own instances; the service that came with the package would hold
	# ports 500 and 4500. One that was here before is not ours to touch.
	if [[ " ${missing[*]} " == *" charon-systemd "* && -d /run/systemd/system ]]; then
		systemctl disable --now strongswan.service
	fi
}

installed() {
	dpkg-query -W -f '${db:Status-Status} ${Package}\n' "$@" 2>/dev/null |
		sed -n 's/^installed //p' | sort
}

make_trees() {
	make_tree trixie trixie "with libreswan, about 150 MB" finish_trixie "${tree_packages[@]}"
	make_tree sid sid "with strongSwan 6, about 75 MB" finish_sid "${sid_packages[@]}"
	make_tree names trixie "with resolvers, about 100 MB" finish_names "${names_packages[@]}"
}

# make_tree NAME RELEASE WORDS FINISH PACKAGE...: the tree of that name, if it is not there yet.
# One made from another list is made again.
make_tree() {
	local tree=$cache/$1 release=$2 words=$3 finish=$4
	shift 4
	[ "$(cat "$tree/.made" 2>/dev/null)" != "$release $*" ] || return 0
	say "making $tree (Debian $release $words)"
	rm -rf --one-file-system "$tree"
	mkdir -p "$cache"
	# "extract" resolves and unpacks, and runs no maintainer scripts. A mirror may have a copy of
	# the unstable release that is some weeks old.
	mmdebstrap --quiet --variant=extract --include="$(IFS=,; echo "$*")" \
		--aptopt='Acquire::Check-Valid-Until "false"' "$release" "$tree" "$(mirror)"
	"$finish" "$tree"
	echo "$release $*" >"$tree/.made"
}

# The little that the maintainer scripts would have made, and mount points.
finish_sid() {
	local tree=$1
	cp "$tree/usr/share/base-passwd/passwd.master" "$tree/etc/passwd"
	cp "$tree/usr/share/base-passwd/group.master" "$tree/etc/group"
	mkdir -p "$tree/host" "$tree/run" "$tree/proc" "$tree/dev"
	# What it is here for.
	grep -q ML_KEM_768 "$tree"/usr/lib/ipsec/libstrongswan.so.0 ||
		fail "the unstable release's strongSwan has no ML-KEM"
}

finish_trixie() {
	local tree=$1
	cp "$tree/usr/share/base-passwd/passwd.master" "$tree/etc/passwd"
	cp "$tree/usr/share/base-passwd/group.master" "$tree/etc/group"
	echo "127.0.0.1 localhost" >"$tree/etc/hosts"
	[ -e "$tree/usr/bin/awk" ] || ln -s mawk "$tree/usr/bin/awk"
	# Mount points, and files to bind each instance's own over.
	mkdir -p "$tree/host" "$tree/lib/modules" "$tree/run" "$tree/var/lib/ipsec/nss"
	touch "$tree/etc/ipsec.conf" "$tree/etc/ipsec.secrets"
	# An empty key database, copied by each instance; certutil reads /dev/urandom.
	unshare -m sh -c "mount --make-rprivate / && mount --bind /dev '$tree/dev' &&
		chroot '$tree' ipsec initnss" >/dev/null
}

finish_names() {
	local tree=$1
	# In Debian's eyes it conflicts with systemd-resolved. Only one of them runs at a time.
	apt-get update -q >/dev/null
	(cd "$tree/tmp" && apt-get download -q -o APT::Sandbox::User=root openresolv >/dev/null)
	dpkg-deb --fsys-tarfile "$tree"/tmp/openresolv_*.deb |
		tar -x --keep-directory-symlink -C "$tree"
	cp "$tree/usr/share/base-passwd/passwd.master" "$tree/etc/passwd"
	cp "$tree/usr/share/base-passwd/group.master" "$tree/etc/group"
	echo "systemd-resolve:x:999:999::/:/usr/sbin/nologin" >>"$tree/etc/passwd"
	echo "systemd-resolve:x:999:" >>"$tree/etc/group"
	# Mount points. Each instance has a /run of its own, with all that changes.
	mkdir -p "$tree/run" "$tree/proc" "$tree/dev"
	ln -sf ../run/resolv.conf "$tree/etc/resolv.conf"
	echo "resolv_conf=/run/resolv.conf" >"$tree/etc/resolvconf.conf"
}

# What lets the guest's kernel run on a processor that is newer than it: see the source.
make_xstate() {
	local source=$(dirname "$0")/src/guest/xstate.c made=$cache/xstate.so
	[ ! "$made" -nt "$source" ] || return 0
	gcc -shared -fPIC -O2 -Wall -Wextra -Werror -o "$made.part" "$source"
	mv "$made.part" "$made"
}

# The mirror from which this machine takes its own release.
mirror() {
	local codename
	codename=$(. /etc/os-release && echo "$VERSION_CODENAME")
	apt-get indextargets --format '$(SITE)' "Created-By: Packages" "Release: $codename" |
		head -n 1 | grep . || fail "apt has no source for $codename"
}

say() { echo "interop/setup.sh: $*"; }
fail() { say "$*" >&2; exit 1; }

main "$@"
