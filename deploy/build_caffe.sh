#!/usr/bin/env bash
# Builds BVLC Caffe 1.0 (CPU) with its Python module for the interpreter given, and prints the folder
# to put on PYTHONPATH. It is the reference that `make test-caffe` compares with; nothing else needs it.
#
#   deploy/build_caffe.sh [PYTHON]
#
# The result is kept in the user's cache folder under a key of this recipe, the interpreter and its
# numpy, so that a second call returns at once. Needs Debian or Ubuntu packages (below): installed when
# root, named when not. Sources come from the PyPI sdist `brocolli-caffe`, a light fork of Caffe 1.0.
set -euo pipefail

SDIST=brocolli-caffe==9.0.2
SHA256=c6410cc60bdd6db685d441b66be7df05410f8850ac88d6b75d48ef9b2315c08a
PACKAGES=(cmake g++ make protobuf-compiler libprotobuf-dev libboost-system-dev libboost-thread-dev
  libboost-filesystem-dev libboost-regex-dev libboost-python-dev libgflags-dev libgoogle-glog-dev
  libopenblas-pthread-dev libhdf5-dev liblmdb-dev)

python=$(command -v "${1:-python3}")
python=$(cd "$(dirname "$python")" && pwd)/$(basename "$python")  # absolute; a venv's link stays one
# What is compiled runs with this Python and this numpy's major version: both are part of the key.
runs_on=$("$python" -c 'import sys, numpy; print(sys.version_info[:2], numpy.__version__[0])')
key=$({ cat "${BASH_SOURCE[0]}"; echo "$runs_on"; } | sha256sum | cut -c1-16)
home=${SAFERANK_CAFFE_HOME:-${XDG_CACHE_HOME:-$HOME/.cache}/saferank/caffe}
result=$home/$key

say() { echo "build_caffe: $*" >&2; }

if [ -d "$result" ]; then
  echo "$result"
  exit
fi

missing=()
for package in "${PACKAGES[@]}"; do
  dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
done
if [ ${#missing[@]} -gt 0 ]; then
  if [ "$(id -u)" != 0 ]; then
    say "please install first: apt-get install --no-install-recommends ${missing[*]}"
    exit 1
  fi
  say "installing ${missing[*]}"
  apt-get update -q >&2
  DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}" >&2
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
say "fetching $SDIST"
"$python" -m pip download -q --no-deps --no-binary :all: -d "$work" "$SDIST" >&2
echo "$SHA256  $(echo "$work"/brocolli-caffe-*.tar.gz)" | sha256sum -c --quiet >&2
mkdir "$work/source"
tar xzf "$work"/brocolli-caffe-*.tar.gz -C "$work/source" --strip-components=1
cd "$work/source"

# The sdist carries the output of an old protoc, which would shadow what the build generates.
rm -f include/caffe/proto/caffe.pb.h src/caffe/proto/caffe.pb.cc python/caffe/proto/caffe_pb2.py
# scikit-image 0.19 renamed this argument.
sed -i 's/as_grey=not color/as_gray=not color/' python/caffe/io.py
# The build links -lboost_python; Debian's library has the Python version in its name.
abi=$("$python" -c 'import sys; print("%d%d" % sys.version_info[:2])')
libraries=$(dirname "$(ldconfig -p | awk '/libboost_python'"$abi"'\.so$/ {print $NF; exit}')")
mkdir shim
ln -s "$libraries/libboost_python$abi.so" shim/libboost_python.so

include=$("$python" -c 'import sysconfig; print(sysconfig.get_path("include"))')
numpy=$("$python" -c 'import numpy; print(numpy.get_include())')
say "compiling (about six minutes on two cores)"
cmake -B build -DCMAKE_BUILD_TYPE=Release -DANACONDA_HOME=/nonexistent -DCMAKE_SKIP_RPATH=ON \
  -DCMAKE_CXX_FLAGS="-w -DUSE_LMDB -DBOOST_BIND_GLOBAL_PLACEHOLDERS -I$include -I$numpy -I/usr/include/hdf5/serial" \
  -DCMAKE_SHARED_LINKER_FLAGS="-Wl,--no-as-needed -llmdb -L$work/source/shim -L$libraries/hdf5/serial" >&2
nice cmake --build build -j"$(nproc)" --target pycaffe >&2

mkdir -p "$work/package/caffe/proto" "$home"
cp python/caffe/*.py "$work/package/caffe/"
cp python/caffe/proto/*.py "$work/package/caffe/proto/"
cp -L build/lib/_caffe.so "$work/package/caffe/"
strip --strip-unneeded "$work/package/caffe/_caffe.so"
cd /
GLOG_minloglevel=2 PYTHONPATH="$work/package" "$python" -c 'import caffe' >&2
# Renamed into place at the end, so that a build cut short leaves nothing that looks finished.
mv -T "$work/package" "$result" 2>/dev/null || [ -d "$result" ]  # another build may have been first
say "built $result"
echo "$result"
