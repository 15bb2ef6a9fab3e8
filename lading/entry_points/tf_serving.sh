#!/bin/sh
# Starts TensorFlow Serving as platforms for containers want it: HTTP on $PORT, metrics, batching, signals that arrive.
#
#   PORT, AIP_HTTP_PORT        the port for HTTP (Knative, Cloud Run; Vertex AI, which wins). Default: 8501
#   LADING_GRPC_PORT           the port for gRPC, or "off". Default: 8500, and where HTTP has that one, 8501
#   MODEL_NAME                 the name of the model. Default: model
#   MODEL_BASE_PATH            the directory of models. Default: /models
#   LADING_BATCHING            "off": every request runs alone, as a model needs whose inputs have no batch axis
#   LADING_MAX_BATCH_SIZE      rows that run together at most. Default: 128
#   LADING_BATCH_TIMEOUT_MICROS  how long a request waits for others. Default: 0: only for a free thread
#   TMPDIR                     where its two files of settings are written. Default: /tmp
#
# Arguments go to the server, after those made here: of two settings of one flag the last counts.
set -eu

fail() {
    echo "tf-serving: $1" >&2
    exit 2
}

check_port() { # name, value
    case $2 in
    '' | *[!0-9]* | ??????*) fail "$1 is '$2', expected a port from 1 to 65535" ;;
    esac
    [ "$2" -ge 1 ] && [ "$2" -le 65535 ] || fail "$1 is '$2', expected a port from 1 to 65535"
}

http=${AIP_HTTP_PORT:-${PORT:-8501}}
check_port PORT "$http"
grpc=${LADING_GRPC_PORT:-}
if [ -z "$grpc" ]; then
    grpc=8500
    [ "$http" -ne 8500 ] || grpc=8501
fi

settings=$(mktemp -d "${TMPDIR:-/tmp}/tf-serving.XXXXXX" 2>/dev/null) || settings=

if [ "$grpc" = off ]; then
    # The server wants gRPC somewhere: a socket that nobody opens takes no port (model_servers/server.cc).
    [ -n "$settings" ] || fail "LADING_GRPC_PORT=off needs a directory that can be written: mount one at /tmp, or set TMPDIR"
    set -- --port=0 "--grpc_socket_path=$settings/grpc.sock" "$@"
else
    check_port LADING_GRPC_PORT "$grpc"
    [ "$grpc" -ne "$http" ] || fail "LADING_GRPC_PORT and PORT are both $http, expected two ports, or LADING_GRPC_PORT=off"
    set -- "--port=$grpc" "$@"
fi

if [ "${LADING_BATCHING:-on}" != off ]; then
    set -- --enable_batching=true "$@"
    rows=${LADING_MAX_BATCH_SIZE:-128}
    wait=${LADING_BATCH_TIMEOUT_MICROS:-0}
    case $rows$wait in *[!0-9]*) fail "LADING_MAX_BATCH_SIZE and LADING_BATCH_TIMEOUT_MICROS are numbers" ;; esac
fi

if [ -n "$settings" ]; then
    # Fields: tensorflow_serving/config/monitoring_config.proto. The path is the one that lading's server has too.
    printf 'prometheus_config { enable: true path: "/monitoring/prometheus/metrics" }\n' >"$settings/monitoring.config"
    set -- "--monitoring_config_file=$settings/monitoring.config" "$@"
    if [ "${LADING_BATCHING:-on}" != off ]; then
        threads=$(nproc 2>/dev/null) || threads=4
        # Fields: servables/tensorflow/session_bundle_config.proto. Without splitting, a request with more rows than a
        # batch may have would be refused.
        {
            printf 'max_batch_size { value: 1000000 }\n'
            printf 'enable_large_batch_splitting { value: true }\n'
            printf 'max_execution_batch_size { value: %s }\n' "$rows"
            printf 'batch_timeout_micros { value: %s }\n' "$wait"
            printf 'num_batch_threads { value: %s }\n' "$threads"
            printf 'max_enqueued_batches { value: 100 }\n'
        } >"$settings/batching.config"
        set -- "--batching_parameters_file=$settings/batching.config" "$@"
    fi
else
    echo "tf-serving: ${TMPDIR:-/tmp} cannot be written: no metrics, and batches by default settings" >&2
fi

# exec: the server is process 1 then, and gets SIGTERM itself.
exec tensorflow_model_server \
    "--rest_api_port=$http" \
    "--model_name=${MODEL_NAME:-model}" \
    "--model_base_path=${MODEL_BASE_PATH:-/models}/${MODEL_NAME:-model}" \
    "$@"
