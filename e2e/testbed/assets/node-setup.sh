# Runs once inside a container with the node's files in place: sets up services as kind's own base image does, then
# fills containerd's store with the archives.

rm -f /lib/systemd/system/multi-user.target.wants/* \
	/etc/systemd/system/*.wants/* \
	/lib/systemd/system/local-fs.target.wants/* \
	/lib/systemd/system/sockets.target.wants/*udev* \
	/lib/systemd/system/sockets.target.wants/*initctl* \
	/lib/systemd/system/basic.target.wants/* \
	/lib/systemd/system/sysinit.target.wants/systemd-tmpfiles-setup.service
echo 'ReadKMsg=no' >>/etc/systemd/journald.conf
ln -sf /usr/lib/systemd/systemd /sbin/init
systemctl enable kubelet.service containerd.service undo-mount-hacks.service
systemctl mask systemd-binfmt.service
rm -f /etc/machine-id

for plugin in host-local loopback ptp portmap bridge; do
	cp "/usr/lib/cni/$plugin" /opt/cni/bin/
done

# As in kind's image, but without its hook that hides the machine's product name.
ctr oci spec | jq 'del(.process.rlimits)' >/etc/containerd/cri-base.json

containerd >/tmp/containerd.log 2>&1 &
containerd=$!
tries=0
until ctr version >/dev/null 2>&1; do
	tries=$((tries + 1))
	if [ "$tries" -gt 300 ]; then
		tail -n 20 /tmp/containerd.log
		exit 1
	fi
	sleep 0.1
done
for archive in /archives/*.tar; do
	ctr --namespace k8s.io images import --local --discard-unpacked-layers "$archive"
done
kill "$containerd"
wait "$containerd" || true
rm -f /tmp/containerd.log
