#!/bin/sh
# Runs one private PostgreSQL cluster for as long as standard input stays open.
#
#   sh supervise.sh BIN DIR
#
# BIN holds initdb and pg_ctl; DIR exists, is empty and is ours. "ready" is
# printed once the server accepts connections at DIR/.s.PGSQL.5432, or else its
# log and "failed". When standard input ends, because our parent closed it or
# died however suddenly, the server is stopped and DIR removed. The parent-death
# signal would not do: it follows the thread that forked, and removes no files.
bin=$1 dir=$2
trap '' PIPE HUP INT TERM

start() {
  "$bin/initdb" -D "$dir/data" -U troth -A trust -E UTF8 --locale=C --no-sync >"$dir/log" 2>&1 || return
  cat >>"$dir/data/postgresql.conf" <<CONF || return
listen_addresses = ''
unix_socket_directories = '$dir'
unix_socket_permissions = 0700
max_connections = 100
shared_buffers = 32MB
fsync = off
full_page_writes = off
jit = off
timezone = 'UTC'
CONF
  "$bin/pg_ctl" -D "$dir/data" -l "$dir/log" -w -t 60 start >/dev/null 2>&1
}

if start; then
  echo ready
else
  cat "$dir/log"
  echo failed
fi
exec >/dev/null

# Wait for the end of standard input.
while read -r _; do :; done

"$bin/pg_ctl" -D "$dir/data" -m immediate -w stop >/dev/null 2>&1
rm -rf "$dir"
