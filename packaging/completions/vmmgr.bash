# Completion of vmmgr and ksysvmmgr for bash: the command itself says what may come next.
# Installed as /usr/share/bash-completion/completions/vmmgr; printed by `vmmgr completion bash`.

_vmmgr() {
    local line=${COMP_LINE:0:COMP_POINT} typed=${COMP_LINE:0:COMP_POINT} word about kept=""
    typed=${typed##* }
    COMPREPLY=()
    # bash takes "=" for the end of a word, so what precedes it must not be given back.
    if [[ $typed == *=* && $COMP_WORDBREAKS == *=* ]]; then
        kept=${typed%%=*}=
    fi
    while IFS=$'\t' read -r word about; do
        if [[ $word == :files ]]; then
            compopt -o filenames 2>/dev/null
            local value=$typed
            [[ $typed == *=* ]] && value=${typed#*=}
            while IFS= read -r word; do
                COMPREPLY+=("$word")
            done < <(compgen -f -- "$value")
        else
            COMPREPLY+=("${word#"$kept"}")
        fi
    done < <("$1" completion words --line "$line" 2>/dev/null)
    if [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *= ]]; then
        compopt -o nospace 2>/dev/null
    fi
}

complete -F _vmmgr vmmgr ksysvmmgr
