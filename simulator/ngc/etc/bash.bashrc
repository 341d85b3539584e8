# NGC images name this file in BASH_ENV, so that every bash, also one that only runs a command, reads it.
. /etc/shinit_v2
