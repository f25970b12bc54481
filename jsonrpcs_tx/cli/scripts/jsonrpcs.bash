# Completion of jsonrpcs for bash: eval "$(jsonrpcs completion bash)"
_jsonrpcs() {
    local program=${1/#\~\//$HOME/} line
    COMPREPLY=()
    while IFS= read -r line; do
        COMPREPLY+=("$line")
    done < <("$program" completion bash -- "${COMP_LINE:0:COMP_POINT}" "$2" 2>/dev/null </dev/null)
    case ${COMPREPLY[0]-} in
        :file | :directory)
            compopt -o filenames
            [ "${COMPREPLY[0]}" = :file ] && line=-f || line=-d
            COMPREPLY=()
            while IFS= read -r program; do
                COMPREPLY+=("$program")
            done < <(compgen "$line" -- "$2")
            ;;
        *: | *=)
            [ ${#COMPREPLY[@]} = 1 ] && compopt -o nospace
            ;;
    esac
}
complete -F _jsonrpcs jsonrpcs
