# shellcheck shell=bash disable=SC2154
# Part of infra/verify.sh: the processor that the functions are built for has to be the one that they are deployed for.
# Otherwise the stack is made as ever, and every call is answered with 503.

built_for() {
    # Where an ELF file names its processor.
    case $(od -An -tx1 -j18 -N1 "$1") in
    ' 3e') echo x86_64 ;;
    ' b7') echo arm64 ;;
    *) echo 'an unknown processor' ;;
    esac
}

# architecture PARAMETER=VALUE...: prints what is to be deployed, or fails where something else was built.
architecture() {
    local wanted source=samconfig.toml parameter name built bootstrap
    # Wherever it stands there: sam deploy --guided writes it in a second place.
    wanted=$(sed 's/#.*//' samconfig.toml | grep -oE 'Architecture\W+\w+' | grep -oE '\w+$' | sort -u) || true
    [ "$(wc -w <<<"$wanted")" -le 1 ] ||
        die 'samconfig.toml names two processors; leave the Architecture under [default.global.parameters] only'
    # The template's default.
    wanted=${wanted:-x86_64}
    for parameter in "$@"; do
        case $parameter in Architecture=*) wanted=${parameter#*=} source='the command' ;; esac
    done

    for name in Submit Status Result; do
        bootstrap=$(dirname "$template")/$name/bootstrap
        [ -e "$bootstrap" ] || die "there is no $bootstrap; run: sam build"
        built=$(built_for "$bootstrap")
        [ "$built" = "$wanted" ] ||
            die "$bootstrap is built for $built, and $source wants $wanted: no call would be answered." \
                'Set Architecture in samconfig.toml and run: sam build'
    done
    echo "$wanted"
}
