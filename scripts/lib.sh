# Shared by our scripts: where we are, installing what is missing, building a preset. Source it; it changes to the root.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"

say() { printf '\033[1m== %s\033[0m\n' "$*" >&2; }
die() { printf 'error: %s\n' "$1" >&2; [ $# -lt 2 ] || printf '  %s\n' "$2" >&2; exit 1; }

# need GROUP...: installs the packages of these groups that are missing (scripts/packages.txt).
need() {
  local missing=() group package
  while read -r group package; do
    case " $* " in *" $group "*) ;; *) continue ;; esac
    # A tool that is there already from elsewhere will do.
    case $package in
      nodejs) command -v node >/dev/null && continue ;;
      npm | cmake) command -v "$package" >/dev/null && continue ;;
    esac
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
  done < <(grep -v '^#' scripts/packages.txt)
  [ ${#missing[@]} -gt 0 ] || return 0
  command -v apt-get >/dev/null || die "missing: ${missing[*]}" "install these, or run on Debian 12"
  local sudo=
  [ "$(id -u)" = 0 ] || { command -v sudo >/dev/null || die "not root, and no sudo, to install ${missing[*]}"; sudo=sudo; }
  say "installing ${missing[*]}"
  $sudo env DEBIAN_FRONTEND=noninteractive apt-get update -qq
  $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

# build PRESET [target...]: configures (once) and builds into build/PRESET.
build() {
  local preset=$1
  shift
  say "building $preset"
  cmake --preset "$preset" >build/"$preset".configure.log 2>&1 || { cat build/"$preset".configure.log >&2; die "configuring preset $preset failed"; }
  cmake --build build/"$preset" ${1+--target "$@"} -- --quiet
}
mkdir -p build
