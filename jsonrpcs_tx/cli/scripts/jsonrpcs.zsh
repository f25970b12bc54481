#compdef jsonrpcs
# Completion of jsonrpcs for zsh: eval "$(jsonrpcs completion zsh)", or this file as _jsonrpcs in the fpath.
_jsonrpcs() {
    local -a given found
    local program=${~words[1]}
    given=("${(@Q)words[2,CURRENT-1]}" "${(Q)PREFIX}")
    found=("${(@f)$("$program" completion zsh -- "${given[@]}" 2>/dev/null </dev/null)}")
    case ${found[1]} in
        '') return 1 ;;
        :file | :directory)
            [[ $PREFIX == --*=* ]] && compset -P '*='
            if [[ ${found[1]} == :file ]]; then _files; else _files -/; fi
            ;;
        *) _describe -V 'jsonrpcs' found ;;
    esac
}
if [[ ${funcstack[1]} == _jsonrpcs ]]; then
    _jsonrpcs "$@"
else
    compdef _jsonrpcs jsonrpcs
fi
