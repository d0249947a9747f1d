# Bash completion of carat. It asks the command itself (`carat complete`), so it knows the verbs, options and methods of
# what is installed; where carat has nothing to offer, names of files are completed.
_carat() {
    local line
    COMPREPLY=()
    while IFS= read -r line; do
        COMPREPLY+=("$line")
    done < <("${COMP_WORDS[0]}" complete -- "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
    # After "key=" comes the value, not the next word.
    if [[ ${COMPREPLY[0]-} == *= ]]; then compopt -o nospace 2>/dev/null || true; fi
    return 0
}
complete -o default -F _carat carat
