# Completion of jsonrpcs for fish: jsonrpcs completion fish | source
function __jsonrpcs_complete
    set -l given (commandline -opc)
    set -l current (commandline -ct)
    set -l program $given[1]
    set -e given[1]
    set -l found ($program completion fish -- $given "$current" 2>/dev/null </dev/null)
    switch "$found[1]"
        case :file
            __fish_complete_path (string replace -r -- '^--[^=]*=' '' "$current")
        case :directory
            __fish_complete_directories (string replace -r -- '^--[^=]*=' '' "$current")
        case '*'
            printf '%s\n' $found
    end
end
complete -c jsonrpcs -f -k -a '(__jsonrpcs_complete)'
