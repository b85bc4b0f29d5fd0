#!/bin/sh
set -e
# Debian says remove, RPM 0; upgrades leave the service alone.
if [ -d /run/systemd/system ] && { [ "$1" = remove ] || [ "$1" = 0 ]; }; then
	systemctl disable --now dnshark.service || true
fi
