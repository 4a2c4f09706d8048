mount -t tmpfs tmpfs /run
ip netns add probe
ip link add va type veth peer name vb netns probe
ip link set va up
ip link add link va name m0 type macvlan mode vepa
ip link set m0 netns probe
