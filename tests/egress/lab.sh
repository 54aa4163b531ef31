#!/bin/sh
# Makes a host's network with an internet behind it, and runs a command there until that ends.
# Usage: unshare --net --mount --propagation private sh lab.sh DIRECTORY COMMAND...
# DIRECTORY holds table.json, world.py, cert.pem, key.pem, and what is to be seen as /etc; log and the internet's output go there.
set -e
D=$1; shift
rm -f "$D/pid" "$D/out" "$D/log"
ip link set lo up
unshare --net sh -c 'echo $$ > "$1/pid"; exec sleep 3600' sh "$D" < /dev/null &
I=$!
W=
trap 'kill $I $W 2> /dev/null' EXIT
while [ ! -s "$D/pid" ]; do sleep 0.02; done
inside() { nsenter --net=/proc/$I/ns/net "$@"; }
ip link add h0 type veth peer name i0 netns $I
ip addr add 45.90.0.1/24 dev h0; ip -6 addr add 2a0c:1::1/64 dev h0 nodad; ip link set h0 up
inside ip link set lo up
inside ip addr add 45.90.0.2/24 dev i0; inside ip -6 addr add 2a0c:1::2/64 dev i0 nodad; inside ip link set i0 up
for address in 93.184.216.34 93.184.216.35 151.101.0.1 10.1.2.3 169.254.169.254 100.64.0.9 192.168.7.7; do
  inside ip addr add $address/32 dev lo
done
inside ip -6 addr add 2a0c:2::34/128 dev lo nodad
# On the link, so that the first packet need not wait until the neighbours know each other.
mac() { awk '{ print $3 }'; }
M=$(inside ip -brief link show dev i0 | mac); N=$(ip -brief link show dev h0 | mac)
ip neigh replace 45.90.0.2 lladdr $M dev h0; ip -6 neigh replace 2a0c:1::2 lladdr $M dev h0
inside ip neigh replace 45.90.0.1 lladdr $N dev i0; inside ip -6 neigh replace 2a0c:1::1 lladdr $N dev i0
ip route add default via 45.90.0.2; ip -6 route add default via 2a0c:1::2
# Not by way of the function: its shell would be what ends with us, and not the server.
nsenter --net=/proc/$I/ns/net /usr/bin/python3 "$D/world.py" "$D/table.json" "$D/log" "$D/cert.pem" "$D/key.pem" > "$D/out" 2>&1 < /dev/null &
W=$!
while ! grep -qs ready "$D/out"; do kill -0 $W; sleep 0.02; done
# HTTP/2, where there is somebody who speaks it.
if command -v node > /dev/null; then
  nsenter --net=/proc/$I/ns/net node "$D/second.mjs" "$D/log" "$D/cert.pem" "$D/key.pem" "$D/second" > "$D/second.out" 2>&1 < /dev/null &
  S=$!
  W="$W $S"
  while [ ! -e "$D/second" ] && kill -0 $S 2> /dev/null; do sleep 0.02; done
fi
# What listens on the host itself, where nothing in a jail may ever get.
/usr/bin/python3 -c '
import socket, sys
log = open(sys.argv[1], "a", buffering=1)
server = socket.create_server(("::", 8099), family=socket.AF_INET6, dualstack_ipv6=True)
while True:
    client, who = server.accept()
    log.write("home %s\n" % who[0])
    client.close()
' "$D/log" < /dev/null &
W="$W $!"
mount --bind "$D/etc" /etc
# What root remembers between runs is remembered in this world alone.
mount -t tmpfs none /var/lib
"$@"
