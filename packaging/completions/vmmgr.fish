# Completion of vmmgr and ksysvmmgr for fish: the command itself says what may come next.
# Installed as /usr/share/fish/vendor_completions.d/vmmgr.fish; printed by `vmmgr completion fish`.

function __vmmgr_words
    set -l typed (commandline -opc)
    set -l current (commandline -ct)
    set -l found ($typed[1] completion words $typed[2..-1] "$current" 2>/dev/null)
    if test "$found[1]" = ":files"
        set -l prefix (string match -r '^[^=]*=' -- "$current")
        for path in (__fish_complete_path (string replace -r '^[^=]*=' '' -- "$current"))
            echo "$prefix$path"
        end
    else
        printf '%s\n' $found
    end
end

complete -c vmmgr -f -a '(__vmmgr_words)'
complete -c ksysvmmgr -f -a '(__vmmgr_words)'
