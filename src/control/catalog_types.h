/*
 * catalog_types: which types are harmless, as SQL. Private to this folder.
 */
#ifndef WEIR_CONTROL_CATALOG_TYPES_H
#define WEIR_CONTROL_CATALOG_TYPES_H

/* Built-in types whose output and comparison depend on nothing but settings; see cache/policy.h. */
#define HARMLESS_TYPES                                                                                       \
    "16,17,18,19,20,21,23,25,26,114,142,600,601,602,603,604,628,650,700,701,718,774,829,869,1042,1043,1082," \
    "1083,"                                                                                                  \
    "1114,1184,1186,1560,1562,1700,2950,3614,3615,3802,3904,3906,3908,3910,3912,3926,4451,4532,4533,4534,"   \
    "4535,4536"

#define IS_HARMLESS(type, elem)                                                                              \
    "(" type ".oid IN (" HARMLESS_TYPES ") OR " type ".typtype = 'e' OR (" type                              \
    ".typcategory = 'A' AND (" elem ".oid IN (" HARMLESS_TYPES ") OR " elem ".typtype = 'e')))"

#endif
