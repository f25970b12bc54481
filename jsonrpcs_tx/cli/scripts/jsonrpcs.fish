# Completion of jsonrpcs for fish: jsonrpcs completion fish | source
function __jsonrpcs_complete
    set -l given (commandline -opc)
    set -l current (commandline -ct)
    set -l program $given[1]
    set -e given[1]
    set -l found ($program completion fish -- $given "$current" 2>/dev/null </dev/null)
    set -l prefix (string match -r -- '^--[^=]*=' "$current")
    set -l path (string replace -r -- '^--[^=]*=' '' "$current")
    switch "$found[1]"
        case :file
            set found (__fish_complete_path "$path")
        case :directory
            set found (__fish_complete_directories "$path")
        case '*'
            set prefix
    end
    for one in $found
        printf '%s\n' "$prefix$one"
    end
end
complete -c jsonrpcs -f -k -a '(__jsonrpcs_complete)'
