#!/usr/bin/env bash
# Runs one suite of real clients against a built server.   tests/drivers/run.sh BINARY js|ts|python|feeds|demo|readme|docs|changefeeds|plans|text|transactions
# Packages are installed beside the binary, once: a stamp holds the hash of what was asked for.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
[ $# -eq 2 ] || { echo "usage: run.sh BINARY js|ts|python|feeds|demo|readme|docs|changefeeds|plans|text|transactions" >&2; exit 2; }
[ -x "$1" ] || { echo "run.sh: there is no program $1" >&2; exit 2; }
binary=$(cd "$(dirname "$1")" && pwd)/$(basename "$1")
cache=$(dirname "$binary")/driver-packages
export PHOTONDB=$binary
mkdir -p "$cache"
exec 9>"$cache/lock"

# npm_packages DIR NAME: the locked packages of DIR, in $cache/NAME.
npm_packages() {
  local to=$cache/$2 stamp
  stamp=$(sha256sum "$1/package.json" "$1/package-lock.json" | sha256sum)
  flock 9
  if [ "$(cat "$to/stamp" 2>/dev/null)" != "$stamp" ]; then
    mkdir -p "$to"
    cp "$1/package.json" "$1/package-lock.json" "$to/"
    (cd "$to" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error >&2)
    printf '%s' "$stamp" >"$to/stamp"
  fi
  flock -u 9
  export NODE_PATH=$to/node_modules
}

python_packages() {
  local to=$cache/python stamp
  stamp=$(sha256sum "$here/requirements.txt"; python3 --version)
  flock 9
  if [ "$(cat "$to/stamp" 2>/dev/null)" != "$stamp" ]; then
    rm -rf "$to"
    python3 -m venv "$to"
    "$to/bin/pip" install --quiet --disable-pip-version-check -r "$here/requirements.txt" >&2
    printf '%s' "$stamp" >"$to/stamp"
  fi
  flock -u 9
}

case $2 in
  js | ts)
    npm_packages "$here/js" js
    exec node --test "$here/js/$2_test.js"
    ;;
  python)
    python_packages
    "$cache/python/bin/python" "$here/python/python_test.py"
    "$cache/python/bin/python" "$here/python/users_test.py"
    exec "$cache/python/bin/python" "$here/python/administration_test.py"
    ;;
  feeds)
    npm_packages "$here/js" js
    python_packages
    node --test "$here/js/feeds_test.js"
    exec "$cache/python/bin/python" "$here/python/feeds_test.py"
    ;;
  demo)
    npm_packages "$here/../../demo" demo
    exec node --test "$here/demo_test.js"
    ;;
  readme)
    npm_packages "$here/../../demo" demo
    exec node --test "$here/readme_test.js"
    ;;
  docs)
    npm_packages "$here/js" js
    exec node --test "$here/../docs/query_language_test.js"
    ;;
  changefeeds)
    npm_packages "$here/js" js
    python_packages
    export DRIVER_PYTHON=$cache/python/bin/python
    exec node --test "$here/../docs/changefeeds_test.js"
    ;;
  transactions)
    npm_packages "$here/js" js
    python_packages
    export DRIVER_PYTHON=$cache/python/bin/python
    node --test "$here/../docs/transactions_test.js"
    exec "$DRIVER_PYTHON" "$here/python/transactions_test.py"
    ;;
  plans)
    npm_packages "$here/js" js
    exec node --test "$here/../docs/plans_test.js"
    ;;
  text)
    npm_packages "$here/js" js
    exec node --test "$here/../text/text_test.js" "$here/../docs/text_reql_test.js"
    ;;
  *)
    echo "run.sh: there is no suite $2" >&2
    exit 2
    ;;
esac
